"""Promises of arrays.py: the module comes from the array, and nothing moves unless asked to by name."""

import warnings

import numpy as np
import pytest

from tinygen.backend import arrays
from tinygen.backend.arrays import DeviceError, array_module, asarray, device_of, parse_device, to_device, to_numpy


def test_the_module_follows_the_arrays_and_scalars_have_no_say(library):
    x = library.array([1.0, 2.0])
    assert array_module(x) is library.xp
    assert array_module(None, 2.0, np.float64(3), [1], x, x) is library.xp
    assert arrays.MODULES[type(x)] is library.xp
    assert array_module() is np and array_module(1, None, [2.0]) is np
    assert arrays.is_array(x) and not any(map(arrays.is_array, (1.0, np.float32(1), [1], None)))


def test_a_subclass_of_ndarray_counts_as_numpy_and_loses_its_class(tmp_path):
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(3,))
    assert array_module(mapped) is np and arrays.is_array(mapped)
    assert type(asarray(mapped)) is np.ndarray


def test_two_devices_in_one_operation_are_refused_with_the_cure(library):
    if library.xp is np:
        pytest.skip("one library only: nothing to mix")
    with pytest.raises(DeviceError, match=r"\(2,\) on cpu and shape \(3,\) on cuda:0.*\.to\('cpu'\)"):
        array_module(np.ones(2), 1.0, library.array(np.ones(3)))


@pytest.mark.parametrize(
    "name, parsed", [("cpu", ("cpu", None)), ("cuda", ("cuda", 0)), ("cuda:3", ("cuda", 3))]
)
def test_device_names(name, parsed):
    assert parse_device(name) == parsed


@pytest.mark.parametrize("nonsense", ["gpu", "cuda:", "cuda:-1", "cuda:1x", "", None, 0, ("cpu",)])
def test_a_wrong_device_name_says_what_is_accepted(nonsense):
    with pytest.raises(ValueError, match="wanted 'cpu', 'cuda' or 'cuda:N'"):
        parse_device(nonsense)


def test_round_trip_keeps_values_dtype_and_shape(library):
    for value in (np.arange(6, dtype=np.float32).reshape(2, 3), np.array(True), np.zeros((0, 2), np.int64)):
        there = to_device(value, library.device)
        assert device_of(there) == library.device
        back = to_numpy(there)
        assert type(back) is np.ndarray and back.dtype == value.dtype and back.shape == value.shape
        np.testing.assert_array_equal(back, value)


def test_moving_to_where_it_is_copies_nothing(library):
    x = library.array([1.0])
    assert to_device(x, library.device) is x and asarray(x) is x


def test_copy_gives_memory_of_its_own(library):
    x = library.array([1.0, 2.0])
    y = asarray(x, device=library.device, copy=True)
    y[0] = 5.0
    assert library.host(x)[0] == 1.0 and library.host(y)[0] == 5.0


def test_to_numpy_of_a_fortran_array_on_the_device_is_c_ordered(library):
    x = to_device(np.asfortranarray(np.ones((3, 4))), library.device)
    if library.xp is not np:
        assert x.flags.c_contiguous


def test_asarray_leaves_an_array_where_it_is_unless_told(library):
    x = library.array([1, 2], "float32")
    assert device_of(asarray(x, "float64")) == library.device and asarray(x, "float64").dtype == "float64"
    assert device_of(asarray([1, 2])) == "cpu"
    assert isinstance(asarray(x, device="cpu"), np.ndarray)
    assert device_of(asarray([1.5], dtype="float32", device=library.device)) == library.device


@pytest.mark.parametrize("value", ["text", [object()], ["a", 1.0], None])
def test_what_is_not_numbers_is_refused(value):
    with pytest.raises(TypeError, match="wanted numbers or booleans"):
        asarray(value)


def test_to_numpy_and_device_of_name_what_they_got():
    with pytest.raises(TypeError, match="to_numpy: array is a list"):
        to_numpy([1.0])
    with pytest.raises(TypeError, match="device_of: array is a float"):
        device_of(1.0)


def test_errstate_silences_numpy_and_is_idle_elsewhere(library):
    x = library.array([-1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with arrays.errstate(library.xp, invalid="ignore"):
            assert np.isnan(library.host(library.xp.log(x))).all()


def test_dlpack_shares_memory_and_keeps_the_device(library):
    x = library.array([1.0, 2.0])
    assert arrays.from_dlpack(x) is x

    class Foreign:
        """An array of some other library, on the CPU."""

        data = np.array([1.0, 2.0])

        def __dlpack__(self, **options):
            return self.data.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.data.__dlpack_device__()

    assert np.shares_memory(arrays.from_dlpack(Foreign()), Foreign.data)


def test_dlpack_refuses_other_devices_and_other_things():
    class Elsewhere:
        def __dlpack_device__(self):
            return (4, 0)  # OpenCL

    with pytest.raises(DeviceError, match="kind 4"):
        arrays.from_dlpack(Elsewhere())
    with pytest.raises(TypeError, match="__dlpack__"):
        arrays.from_dlpack([1.0])
