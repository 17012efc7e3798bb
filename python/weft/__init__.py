# SPDX-License-Identifier: MIT
"""What weft gives to tasklets of the module stackless: see weft.io."""
