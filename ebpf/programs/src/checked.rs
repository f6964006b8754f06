//! Functions that the kernel checks once, each by itself, and not once for every way that leads to it: exported, with a number as result, and with
//! the context, numbers and pointers that may be null as arguments. The others of a program are walked through wherever they are called.

use skep_logic::Malformed;

/// Result of such a function: a header does not hold together. Neither a verdict of tc nor a count.
pub(crate) const MALFORMED: i32 = -2;

/// From the result of a checked function.
#[inline(always)]
pub(crate) fn verdict(code: i32) -> Result<i32, Malformed> {
    if code == MALFORMED { Err(Malformed) } else { Ok(code) }
}

/// To the result of a checked function.
#[inline(always)]
pub(crate) fn code(verdict: Result<i32, Malformed>) -> i32 {
    verdict.unwrap_or(MALFORMED)
}

/// As [`code`], of what has no verdict.
#[inline(always)]
pub(crate) fn done(result: Result<(), Malformed>) -> i32 {
    code(result.map(|()| 0))
}

/// As [`verdict`], of what has none.
#[inline(always)]
pub(crate) fn is_done(code: i32) -> Result<(), Malformed> {
    verdict(code).map(|_| ())
}

/// Arguments of a checked function, or what it returns where one of them is null. The kernel takes each for a pointer to as much memory as its
/// type has, or to none.
macro_rules! arguments {
    ($($name:ident),+ or $otherwise:expr) => {
        // SAFETY: the kernel has checked that they point to values of their type, which outlive the call.
        $(let Some($name) = (unsafe { $name.as_ref() }) else { return $otherwise };)+
    };
    (mut $($name:ident),+ or $otherwise:expr) => {
        // SAFETY: as above, and callers hold no other reference.
        $(let Some($name) = (unsafe { $name.as_mut() }) else { return $otherwise };)+
    };
}
pub(crate) use arguments;
