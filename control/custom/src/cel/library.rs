//! What Kubernetes adds to the language: quantities, addresses, URLs, versions, named formats.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::rc::Rc;

use skep_registry::Quantity;

use super::eval::{Evaluation, Result, error, no_overload};
use super::value::Val;
use crate::format;

/// A URL, taken apart.
#[derive(Debug, PartialEq)]
pub(super) struct Url {
    scheme: String,
    /// With the port.
    host: String,
    path: String,
    query: Vec<(String, String)>,
}

/// A semantic version.
#[derive(Debug, PartialEq)]
pub(super) struct Semver {
    numbers: [u64; 3],
    pre: Vec<String>,
}

impl Url {
    fn parse(text: &str) -> Option<Self> {
        if !format::is_uri(text) {
            return None;
        }
        let text = text.split_once('#').map_or(text, |(before, _)| before);
        let (scheme, rest) = match text.starts_with('/') {
            true => ("", text),
            false => text.split_once(':')?,
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.find('/').map_or((rest, ""), |at| rest.split_at(at)),
            None => ("", rest),
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
        if port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit())) {
            return None;
        }
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Some(Self {
            scheme: scheme.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        })
    }

    /// Host and port apart.
    fn authority(&self) -> (&str, &str) {
        match self.host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (&self.host, ""),
        }
    }
}

impl Semver {
    fn parse(text: &str) -> Option<Self> {
        let text = text.split_once('+').map_or(text, |(before, _)| before);
        let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
        let mut parts = core.split('.').map(|part| {
            let plain = part == "0" || !part.starts_with('0');
            (plain && !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok()).flatten()
        });
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        if parts.next().is_some() || pre.is_some_and(|pre| pre.split('.').any(str::is_empty)) {
            return None;
        }
        Some(Self { numbers, pre: pre.into_iter().flat_map(|pre| pre.split('.')).map(str::to_owned).collect() })
    }

    fn order(&self, other: &Self) -> Ordering {
        let identifiers = |a: &String, b: &String| match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => a.cmp(b),
        };
        let pre = match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let mut pairs = self.pre.iter().zip(&other.pre).map(|(a, b)| identifiers(a, b));
                pairs.find(|order| order.is_ne()).unwrap_or(self.pre.len().cmp(&other.pre.len()))
            }
        };
        self.numbers.cmp(&other.numbers).then(pre)
    }
}

fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u8>().ok()?);
    (bits <= width(address)).then_some((address, bits))
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// The address with all bits after a prefix cleared.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    let shift = u32::from(width(address) - bits);
    let kept = number(address).checked_shr(shift).and_then(|kept| kept.checked_shl(shift)).unwrap_or(0);
    match address {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(kept).unwrap_or(0).into()),
        IpAddr::V6(_) => IpAddr::V6(kept.into()),
    }
}

fn holds(network: (IpAddr, u8), address: IpAddr) -> bool {
    network.0.is_ipv4() == address.is_ipv4() && masked(network.0, network.1) == masked(address, network.1)
}

/// Global functions.
pub(super) fn function<'a>(run: &mut Evaluation<'a>, name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    let [Val::Text(text), rest @ ..] = args else {
        return match (name, args) {
            ("ip.isCanonical", _) => no_overload(),
            ("string", [value]) => Ok(Val::text(super::text::shown(value))),
            _ => no_overload(),
        };
    };
    run.spend(1 + text.len() / 10)?;
    let lenient = matches!(rest, [Val::Bool(true)]);
    let normal = || {
        let text = if lenient { text.trim_start_matches('v') } else { text };
        match (lenient, text.split(['-', '+']).next().unwrap_or_default().matches('.').count()) {
            (true, 0) => format!("{text}.0.0"),
            (true, 1) => format!("{text}.0"),
            _ => text.to_owned(),
        }
    };
    Ok(match name {
        "quantity" => match text.parse() {
            Ok(quantity) => Val::Quantity(quantity),
            Err(why) => return error::<Val<'a>>(format!("{why}")),
        },
        "isQuantity" => Val::Bool(text.parse::<Quantity>().is_ok()),
        "ip" => match text.parse() {
            Ok(address) => Val::Ip(address),
            Err(_) => return error(format!("IP Address \"{text}\" parse error during conversion from string")),
        },
        "isIP" => Val::Bool(text.parse::<IpAddr>().is_ok()),
        "cidr" => match cidr(text) {
            Some((address, bits)) => Val::Cidr(address, bits),
            None => return error(format!("network address parse error during conversion from string: \"{text}\"")),
        },
        "isCIDR" => Val::Bool(cidr(text).is_some()),
        "url" => match Url::parse(text) {
            Some(url) => Val::Url(Rc::new(url)),
            None => {
                return error(format!("URL parse error during conversion from string: parse \"{text}\": invalid URI"));
            }
        },
        "isURL" => Val::Bool(Url::parse(text).is_some()),
        "semver" => match Semver::parse(&normal()) {
            Some(version) => Val::Semver(Rc::new(version)),
            None => return error(format!("semver parse error during conversion from string: \"{text}\"")),
        },
        "isSemver" => Val::Bool(Semver::parse(&normal()).is_some()),
        _ => return no_overload(),
    })
}

/// `format.dns1123Label()`, `format.named("uuid")`.
pub(super) fn format<'a>(name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    const NAMES: [&str; 14] = [
        "dns1123Label",
        "dns1123Subdomain",
        "dns1035Label",
        "qualifiedName",
        "dns1123LabelPrefix",
        "dns1123SubdomainPrefix",
        "dns1035LabelPrefix",
        "labelValue",
        "uri",
        "uuid",
        "byte",
        "date",
        "datetime",
        "duration",
    ];
    match (name, args) {
        ("named", [Val::Text(name)]) => Ok(match NAMES.contains(&&**name) {
            true => Val::some(Val::Format(name.as_ref().into())),
            false => Val::Optional(None),
        }),
        (name, []) if NAMES.contains(&name) => Ok(Val::Format(name.into())),
        _ => no_overload(),
    }
}

fn faults(format: &str, text: &str) -> Vec<String> {
    let prefix = text.strip_suffix('-').unwrap_or(text);
    match format {
        "dns1123Label" => skep_registry::dns1123_label(text),
        "dns1123Subdomain" => skep_registry::dns1123_subdomain(text),
        "dns1035Label" => skep_registry::dns1035_label(text),
        "dns1123LabelPrefix" => skep_registry::dns1123_label(prefix),
        "dns1123SubdomainPrefix" => skep_registry::dns1123_subdomain(prefix),
        "dns1035LabelPrefix" => skep_registry::dns1035_label(prefix),
        "qualifiedName" => skep_registry::qualified_name(text),
        "labelValue" if text.is_empty() => Vec::new(),
        // A value is what a key without prefix may be.
        "labelValue" if text.contains('/') => vec!["a valid label must not contain '/'".to_owned()],
        "labelValue" => skep_registry::qualified_name(text),
        other if format::matches(text, other) => Vec::new(),
        other => vec![format!("is no valid {other}")],
    }
}

/// Functions of the types that are not in the language itself.
pub(super) fn method<'a>(target: &Val<'a>, name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    match target {
        Val::Quantity(quantity) => of_quantity(*quantity, name, args),
        Val::Ip(address) => of_ip(*address, name, args),
        Val::Cidr(address, bits) => of_cidr((*address, *bits), name, args),
        Val::Url(url) => of_url(url, name, args),
        Val::Semver(version) => of_semver(version, name, args),
        Val::Format(format) => match (name, args) {
            ("validate", [Val::Text(text)]) => {
                let faults = faults(format, text);
                Ok(match faults.is_empty() {
                    true => Val::Optional(None),
                    false => Val::some(Val::list(faults.into_iter().map(Val::text).collect())),
                })
            }
            _ => no_overload(),
        },
        _ => no_overload(),
    }
}

fn ordered<'a>(name: &str, order: Ordering) -> Result<Val<'a>> {
    Ok(match name {
        "isGreaterThan" => Val::Bool(order.is_gt()),
        "isLessThan" => Val::Bool(order.is_lt()),
        "compareTo" => Val::Int(order as i64),
        _ => return no_overload(),
    })
}

fn of_quantity<'a>(quantity: Quantity, name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    // A quantity that is asked for as a double is asked for roughly.
    let rough = || quantity.millis() as f64 / 1000.0;
    let other = match args {
        [Val::Quantity(other)] => Some(*other),
        [Val::Int(other)] => Some(Quantity::from_value(*other)),
        [] => None,
        _ => return no_overload(),
    };
    match (name, other) {
        ("sign", None) => Ok(Val::Int(quantity.cmp(&Quantity::ZERO) as i64)),
        ("isInteger", None) => Ok(Val::Bool(quantity.is_whole())),
        ("asInteger", None) if quantity.is_whole() => Ok(Val::Int(quantity.value())),
        ("asInteger", None) => error("cannot convert value to integer"),
        ("asApproximateFloat", None) => Ok(Val::Double(rough())),
        ("add", Some(other)) => Ok(Val::Quantity(quantity + other)),
        ("sub", Some(other)) => Ok(Val::Quantity(quantity - other)),
        (_, Some(other)) => ordered(name, quantity.cmp(&other)),
        _ => no_overload(),
    }
}

fn of_ip<'a>(address: IpAddr, name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    let bool = |value| Ok(Val::Bool(value));
    match (name, args) {
        ("family", []) => Ok(Val::Int(if address.is_ipv4() { 4 } else { 6 })),
        ("isUnspecified", []) => bool(address.is_unspecified()),
        ("isLoopback", []) => bool(address.is_loopback()),
        ("isLinkLocalUnicast", []) => bool(link_local(address)),
        ("isLinkLocalMulticast", []) => bool(match address {
            IpAddr::V4(address) => address.octets()[..3] == [224, 0, 0],
            IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
        }),
        ("isGlobalUnicast", []) => bool(
            !address.is_unspecified()
                && !address.is_loopback()
                && !address.is_multicast()
                && !link_local(address)
                && address != IpAddr::from([255, 255, 255, 255]),
        ),
        _ => no_overload(),
    }
}

fn link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn of_cidr<'a>(network: (IpAddr, u8), name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    match (name, args) {
        ("ip", []) => Ok(Val::Ip(network.0)),
        ("prefixLength", []) => Ok(Val::Int(network.1.into())),
        ("masked", []) => Ok(Val::Cidr(masked(network.0, network.1), network.1)),
        ("containsIP", [Val::Ip(address)]) => Ok(Val::Bool(holds(network, *address))),
        ("containsIP", [Val::Text(text)]) => match text.parse() {
            Ok(address) => Ok(Val::Bool(holds(network, address))),
            Err(_) => error(format!("IP Address \"{text}\" parse error during conversion from string")),
        },
        ("containsCIDR", [other]) => {
            let other = match other {
                Val::Cidr(address, bits) => Some((*address, *bits)),
                Val::Text(text) => cidr(text),
                _ => return no_overload(),
            };
            let Some(other) = other else { return error("network address parse error during conversion from string") };
            Ok(Val::Bool(other.1 >= network.1 && holds(network, other.0)))
        }
        _ => no_overload(),
    }
}

fn of_url<'a>(url: &Url, name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    if !args.is_empty() {
        return no_overload();
    }
    let (host, port) = url.authority();
    Ok(match name {
        "getScheme" => Val::text(url.scheme.as_str()),
        "getHost" => Val::text(url.host.as_str()),
        "getHostname" => Val::text(host.trim_start_matches('[').trim_end_matches(']')),
        "getPort" => Val::text(port),
        "getEscapedPath" => Val::text(url.path.as_str()),
        "getQuery" => {
            let mut keys: Vec<&String> = Vec::new();
            for (key, _) in &url.query {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            let values = |key: &String| {
                let values = url.query.iter().filter(|(other, _)| other == key);
                Val::list(values.map(|(_, value)| Val::text(value.as_str())).collect())
            };
            Val::Map(Rc::new(keys.into_iter().map(|key| (Val::text(key.as_str()), values(key))).collect()))
        }
        _ => return no_overload(),
    })
}

fn of_semver<'a>(version: &Semver, name: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    let int = |number: u64| Ok(Val::Int(i64::try_from(number).unwrap_or(i64::MAX)));
    match (name, args) {
        ("major", []) => int(version.numbers[0]),
        ("minor", []) => int(version.numbers[1]),
        ("patch", []) => int(version.numbers[2]),
        (_, [Val::Semver(other)]) => ordered(name, version.order(other)),
        _ => no_overload(),
    }
}
