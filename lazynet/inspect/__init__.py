"""What the user looks at: reports, pictures of graphs and schedules, profiles.

Its modules are imported when they are first used.
"""

from typing import Any

from lazynet.kinds import HOOKS


def _draw_plan(plan: Any, path: Any = None) -> Any:
    from lazynet.inspect.timeline import draw_plan

    return draw_plan(plan, path)


HOOKS.draw_plan = _draw_plan
