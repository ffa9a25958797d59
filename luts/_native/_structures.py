"""The C structures of src/native.h, field by field."""

import ctypes

_INT = ctypes.c_int64
_POINTER = ctypes.c_void_p


def _fields(text: str) -> list[tuple[str, type]]:
    """``*name`` is a pointer, ``name`` an int64, ``~name`` a double."""
    kinds = {"*": _POINTER, "~": ctypes.c_double}
    return [(word.lstrip("*~"), kinds.get(word[0], _INT)) for word in text.split()]


class ProductJob(ctypes.Structure):
    """One factorised product: ``ProductJob`` of src/native.h."""

    _fields_ = _fields("""
        *x x_is_codes
        outer inner x_outer x_inner x_row x_column
        height width channels channels_padded
        kernel_h kernel_w stride_h stride_w padding_h padding_w dilation_h dilation_w
        groups out_h out_w
        terms *u *u_masks depth first_plane shift
        *w *w_planes *w_offsets columns
        *second second_is_codes second_outer second_inner second_k second_n
        *v *v_masks second_plane
        *out out_is_sums out_outer out_inner out_pixel *scale *bias
        ~x_scale ~second_scale threads
        *added added_is_rectified *codes codes_are_rectified ~codes_scale
    """)


class MaxPool(ctypes.Structure):
    """One pooling of codes: ``MaxPool`` of src/native.h."""

    _fields_ = _fields("""
        *x batch height width channels
        kernel_h kernel_w stride_h stride_w padding_h padding_w dilation_h dilation_w
        out_h out_w *out threads
    """)


class Lookup(ctypes.Structure):
    """One table product: ``Lookup`` of src/native.h."""

    _fields_ = _fields("""
        *biased *table columns_odd *row_codes n_rows inner
        *columns batch channels height width
        kernel_h kernel_w stride_h stride_w dilation_h dilation_w
        groups out_h out_w rows_vary *out *scale *bias scale_by_column threads
    """)
