"""`python -m hpdistill.evaluate._serve`: a contender's process, with all back ends of hpdistill."""

from hpdistill.evaluate._worker import serve
from hpdistill.evaluate.backends import load_backend

serve(load_backend)
