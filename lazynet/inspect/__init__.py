"""What the user looks at: pictures of graphs and schedules, and the model they are made from."""

from lazynet.inspect import timeline as timeline  # what `Plan.draw` calls
