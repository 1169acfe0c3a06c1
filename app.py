"""Composes the Chalice app out of blueprints, and does nothing else."""

from chalice.app import Chalice

from chalicelib.api import auth, jobs, training_v1
from chalicelib.triggers import maintenance, schedule, stream, uploads

app = Chalice(app_name="trainyard", configure_logs=False)  # its own level would silence ours
app.register_blueprint(auth.bp)
app.register_blueprint(training_v1.bp)
app.register_blueprint(jobs.bp)
app.register_blueprint(stream.bp)
app.register_blueprint(schedule.bp)
app.register_blueprint(uploads.bp)
app.register_blueprint(maintenance.bp)
