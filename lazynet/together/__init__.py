"""Examples as coroutines: all that wait for a value are evaluated together, then all go on."""

from lazynet.together.asynchronous import run_together_async
from lazynet.together.request import values_async
from lazynet.together.run import run_together

__all__ = ["run_together", "run_together_async", "values_async"]
