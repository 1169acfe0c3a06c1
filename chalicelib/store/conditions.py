"""Every condition that a write to the table carries, by name, and why it is there."""

from __future__ import annotations

# A job id is given once. A record under it can only be our own, written by a request whose answer was lost.
NEW_RECORD = "attribute_not_exists(pk)"

# Optimistic locking: whoever decided on an older version decided on something that is no longer so.
SAME_VERSION = "version = :expected"

# Only what is deleted for everyone may go for good, and only as it was when the cluster was found clean.
SAME_TOMBSTONE = "version = :expected AND attribute_exists(deleted_at)"

# A key is free when nobody used it or its time is over: DynamoDB's TTL removes expired items days late.
KEY_UNUSED = "attribute_not_exists(pk) OR expires_at <= :now"

# Events are told again, and in any order: by a second list, by a watch that repeats, by two sync functions at
# once. What was kept gives way only to the same event at a later time, or counted higher at the same time.
NEWER_EVENT = "attribute_not_exists(pk) OR last_at < :last_at OR (last_at = :last_at AND times < :times)"

# A lease is taken when it is free or expired; and by the one who has it, whose answer may have been lost.
LEASE_FREE_OR_OURS = "attribute_not_exists(pk) OR held_until <= :now OR holder = :holder"

# A lease that was lost in the meantime is another's to give up.
LEASE_OURS = "holder = :holder"

# Who renews it, or writes under it, must not have been overtaken: by another, or by himself in a later run.
LEASE_HELD = "holder = :holder AND fence = :fence"

# A ticket opens one terminal: of two who redeem it at the same time the second loses.
TICKET_UNUSED = "attribute_not_exists(pk)"

# Uploads are told in any order; a status file tells of the newest.
NOT_OLDER_UPLOAD = "attribute_not_exists(pk) OR ordinal <= :ordinal"

# A correction fits the counters that were read: any write since would have raised the version.
COUNTER_UNCHANGED = "version = :expected"
COUNTER_UNUSED = "attribute_not_exists(pk)"

# One reader at a time reads a page for all, and none does while the last one's is still good.
PAGE_OVER = "attribute_not_exists(pk) OR good_until <= :now"
