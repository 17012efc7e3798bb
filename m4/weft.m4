dnl SPDX-License-Identifier: MIT
dnl WEFT_TRY_CFLAGS(VARIABLE, FLAGS)
dnl Substitutes VARIABLE with those of the FLAGS that the C compiler can compile
dnl and link with.
AC_DEFUN([WEFT_TRY_CFLAGS], [
weft_cflags_taken=
for weft_flag in $2; do
	AC_MSG_CHECKING([whether $CC takes $weft_flag])
	weft_cflags_before=$CFLAGS
	CFLAGS="$CFLAGS -Werror $weft_flag"
	AC_LINK_IFELSE([AC_LANG_SOURCE([[int main(void) { return 0; }]])],
		[AC_MSG_RESULT([yes])
		weft_cflags_taken="$weft_cflags_taken $weft_flag"],
		[AC_MSG_RESULT([no])])
	CFLAGS=$weft_cflags_before
done
AC_SUBST([$1], ["$weft_cflags_taken"])
])
