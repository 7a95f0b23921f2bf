"""What runs came to, beside each other and beside the papers, as one page."""

from locallearn.reporting.document import Report
from locallearn.reporting.html_page import html_page
from locallearn.reporting.markdown_page import markdown_page
from locallearn.reporting.report import report_of

__all__ = ["Report", "html_page", "markdown_page", "report_of"]
