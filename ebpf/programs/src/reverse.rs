//! Replies of a node port's backend, as if from the node.

use skep_abi::{CT_REVERSE, CtKeyV4, Metric};
use skep_logic::{Frame, Malformed};

use crate::{CT_V4, Field, Skb, count};

/// Rewrites the source of a packet whose flow came through a node port, and gives back the link that the client is behind; `None` for any
/// other packet.
#[inline(never)]
pub fn reverse(skb: &Skb<'_>, frame: &Frame) -> Result<Option<u32>, Malformed> {
    if !frame.ip.v4 {
        return Ok(None);
    }
    let Some(ports) = frame.ip.ports(skb)? else { return Ok(None) };
    let key = CtKeyV4 {
        src: frame.ip.src.v4(),
        dst: frame.ip.dst.v4(),
        src_port: ports.src,
        dst_port: ports.dst,
        proto: frame.ip.proto,
        dir: CT_REVERSE,
        pad: [0; 2],
    };
    // SAFETY: the value is copied out at once.
    let Some(flow) = (unsafe { CT_V4.get(key) }).copied() else { return Ok(None) };
    skb.rewrite(&frame.ip, Field::Source, &(frame.ip.src, ports.src), &(flow.addr.into(), flow.port))?;
    count(Metric::NodePortReverse, skb.len());
    Ok(Some(flow.ifindex))
}
