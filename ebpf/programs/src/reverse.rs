//! Answers of translated flows, as if from whom the question went to.

use aya_ebpf::bindings::__sk_buff;
use skep_abi::{Metric, NAT_REVERSE};
use skep_logic::{Frame, Malformed};

use crate::checked::{MALFORMED, arguments};
use crate::nat::{is_known, subject, translate};
use crate::{Skb, count};

/// Result of [`reverse_of`]: no answer.
const NO_ANSWER: i64 = -1;

/// Translates a packet that answers to one that was, and gives back the link that the client is behind, 0 for a pod of this node; `None`
/// for any other packet, which is left as it is.
#[inline(always)]
pub fn reverse(skb: &Skb, frame: &Frame) -> Result<Option<u32>, Malformed> {
    match reverse_of(skb.raw(), frame) {
        NO_ANSWER => Ok(None),
        ifindex if ifindex < 0 => Err(Malformed),
        ifindex => Ok(Some(ifindex as u32)),
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn reverse_of(skb: *mut __sk_buff, frame: *const Frame) -> i64 {
    arguments!(frame or MALFORMED.into());
    answer(&Skb::of(skb), frame).unwrap_or(MALFORMED.into())
}

#[inline(always)]
fn answer(skb: &Skb, frame: &Frame) -> Result<i64, Malformed> {
    let Some(subject) = subject(skb, frame, NAT_REVERSE)? else { return Ok(NO_ANSWER) };
    if !is_known(subject) {
        return Ok(NO_ANSWER);
    }
    translate(skb, frame, subject)?;
    let pods_own = subject.flow.service == 0;
    count(if pods_own { Metric::MasqueradeReverse } else { Metric::NodePortReverse }, skb.len());
    Ok(i64::from(subject.flow.ifindex))
}
