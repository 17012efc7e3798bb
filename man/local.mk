# SPDX-License-Identifier: MIT
dist_man_MANS += \
	man/weft-bench.1 \
	man/weft-echo.1 \
	man/weft-info.1 \
	man/weft.7
