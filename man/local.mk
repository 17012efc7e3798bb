# SPDX-License-Identifier: MIT
# A release has all pages; each is installed with its program.
tool_pages = \
	man/weft-bench.1 \
	man/weft-cp.1 \
	man/weft-echo.1 \
	man/weft-info.1 \
	man/weft-load.1
httpd_pages = man/weft-httpd.1
EXTRA_DIST += $(tool_pages) $(httpd_pages)
dist_man_MANS += man/weft.7
man_MANS =
if WITH_TOOLS
man_MANS += $(tool_pages)
endif
if HAVE_HTTP_PARSER
man_MANS += $(httpd_pages)
endif
