"""Make notebooks in plain Markdown for students and other viewers, and exercises that grade themselves.

`pages` reads the targets of links, and `references` reads the bibliography. `inline` and `plain` convert, and
`student` writes the files. These modules need only Python itself.

`grading` hands out exercises that grade themselves: `task`, `task_names` and `points`. Their data come from
`planted_data`, `planted_decoding` and `planted_encoding`.
"""

from latentcortex.teaching.grading import Planted, Task, points, task, task_names
from latentcortex.teaching.pages import Book, read_book
from latentcortex.teaching.plain import plain_notebook, plain_page
from latentcortex.teaching.student import add_arguments, book_folder, run, write_notebooks

__all__ = [
    "Book",
    "Planted",
    "Task",
    "add_arguments",
    "book_folder",
    "plain_notebook",
    "plain_page",
    "points",
    "read_book",
    "run",
    "task",
    "task_names",
    "write_notebooks",
]
