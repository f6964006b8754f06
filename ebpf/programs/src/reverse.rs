//! Answers of translated flows, as if from whom the question went to.

use skep_abi::{Metric, NAT_REVERSE};
use skep_logic::{Frame, Malformed, current};

use crate::nat::{Flows, subject, translate};
use crate::{Skb, count};

/// Translates a packet that answers to one that was, and gives back the link that the client is behind, 0 for a pod of this node; `None`
/// for any other packet, which is left as it is.
#[inline(never)]
pub fn reverse(skb: &Skb<'_>, frame: &Frame) -> Result<Option<u32>, Malformed> {
    let Some(subject) = subject(skb, &frame.ip, NAT_REVERSE)? else { return Ok(None) };
    if !current(&Flows, &subject.key, &mut subject.flow) {
        return Ok(None);
    }
    translate(skb, &frame.ip, subject)?;
    let pods_own = subject.flow.service == 0;
    count(if pods_own { Metric::MasqueradeReverse } else { Metric::NodePortReverse }, skb.len());
    Ok(Some(subject.flow.ifindex))
}
