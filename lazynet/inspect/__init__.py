"""What the user looks at: reports, pictures of graphs and schedules, profiles."""

from lazynet.inspect import timeline as timeline  # what `Plan.draw` calls
