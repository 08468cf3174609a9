"""What teachers take from the book: notebooks in plain Markdown, for students and for other viewers.

`pages` reads what links lead to, and `references` reads the bibliography. `inline` and `plain` convert, and
`student` writes the files. Nothing here needs more than Python itself.
"""

from latentcortex.teaching.pages import Book, read_book
from latentcortex.teaching.plain import plain_notebook, plain_page
from latentcortex.teaching.student import add_arguments, book_folder, run, write_notebooks

__all__ = [
    "Book",
    "add_arguments",
    "book_folder",
    "plain_notebook",
    "plain_page",
    "read_book",
    "run",
    "write_notebooks",
]
