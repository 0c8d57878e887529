"""What does it look like? Figures with alternative text, tables to be read, progress, the keyboard.

Whatever the threads did arrives here as a `History`, an `Audit` or rows; nothing in this room
runs an experiment. The widgets stand beside what they show: `explorer.SchedulerGame`,
`failures.look_up`.
"""

from helpers.display.pictures import Picture
from helpers.display.tables import Table

__all__ = ["Picture", "Table", "charts", "figures", "keyboard", "progress", "tables"]
