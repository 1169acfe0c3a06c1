"""The labels and annotations by which Trainyard finds its own objects in a cluster."""

INSTANCE = "trainyard.dev/instance"
JOB = "trainyard.dev/job-id"
TENANT = "trainyard.dev/tenant"
POOL = "trainyard.dev/pool"
NAME = "trainyard.dev/job-name"  # an annotation: names are free text
VERSION = "trainyard.dev/version"  # of Trainyard's manifest, an annotation
MANAGED_BY = "app.kubernetes.io/managed-by"
RESERVED_PREFIXES = ("trainyard.dev/", "kubernetes.io/", "k8s.io/", "kueue.x-k8s.io/")

# The formats' own: https://kubernetes.io/docs/reference/labels-annotations-taints/ and Kueue's docs.
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
QUEUE = "kueue.x-k8s.io/queue-name"
