//! Links in a proxied page: those to the object's own host lead through the proxy again.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{Response, header};
use http_body_util::BodyDataStream;
use hyper::body::Incoming;

use crate::response::{self, Body, BoxError};

/// A page longer than this keeps its links as they are.
const PAGE_LEN_MAX: usize = 4 << 20;

/// Attributes that hold a link, by tag: those of HTML 4 and 5, as upstream knows them.
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Whether an answer's links can be read: HTML that is not compressed.
pub(super) fn is_page(answer: &Response<Incoming>) -> bool {
    let text = |name| answer.headers().get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    let html = text(header::CONTENT_TYPE).and_then(|value| value.split(';').next()).map(str::trim) == Some("text/html");
    html && text(header::CONTENT_ENCODING).is_none_or(str::is_empty)
}

/// The answer with its links as `link` gives them; `None` leaves one as it is.
///
/// # Errors
/// The object's server broke off.
pub(super) async fn rewritten(
    answer: Response<Incoming>,
    link: impl Fn(&str) -> Option<String>,
) -> Result<Response<Body>, BoxError> {
    let (mut head, body) = answer.into_parts();
    let mut stream = BodyDataStream::new(body);
    let mut page = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        page.extend_from_slice(&chunk?);
        if page.len() > PAGE_LEN_MAX {
            let begun = futures::stream::iter([Ok(page.freeze())]);
            let rest = stream.map(|chunk| chunk.map_err(BoxError::from));
            return Ok(Response::from_parts(head, response::streamed(begun.chain(rest))));
        }
    }
    let page = match std::str::from_utf8(&page) {
        Ok(text) => Bytes::from(rewrite(text, link)),
        Err(_) => page.freeze(),
    };
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(head, response::full(page)))
}

fn rewrite(page: &str, link: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(page.len() + 256);
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let len = if tag.starts_with("<!--") { tag.find("-->").map(|end| end + 3) } else { tag_len(tag) };
        let (tag, after) = tag.split_at(len.unwrap_or(tag.len()));
        rewrite_tag(tag, &link, &mut out);
        rest = after;
        // What is in a script only looks like tags.
        for name in ["script", "style"] {
            if tag_name(tag).eq_ignore_ascii_case(name) {
                let wanted = format!("</{name}");
                let mut places = rest.as_bytes().windows(wanted.len());
                let found = places.position(|place| place.eq_ignore_ascii_case(wanted.as_bytes()));
                let end = found.unwrap_or(rest.len());
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    out.push_str(rest);
    out
}

/// Up to the first `>` outside quotes, or the one character if this is no tag.
fn tag_len(tag: &str) -> Option<usize> {
    if !tag[1..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '!' || c == '?') {
        return Some(1);
    }
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    None
}

/// Empty for an end tag, a comment, and what is none.
fn tag_name(tag: &str) -> &str {
    let name = tag.get(1..).unwrap_or_default();
    &name[..name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len())]
}

fn rewrite_tag(tag: &str, link: impl Fn(&str) -> Option<String>, out: &mut String) {
    let name = tag_name(tag);
    let known = LINKS.iter().find(|(held, _)| held.eq_ignore_ascii_case(name));
    let Some((_, attributes)) = known else { return out.push_str(tag) };
    let (head, mut rest) = tag.split_at(1 + name.len());
    out.push_str(head);
    while let Some(equals) = rest.find('=') {
        let (before, value) = rest.split_at(equals + 1);
        out.push_str(before);
        let mut words = before[..equals].split(|c: char| c.is_whitespace() || c == '/' || c == '"' || c == '\'');
        let attribute = words.rfind(|word| !word.is_empty()).unwrap_or_default();
        let trimmed = value.trim_start();
        out.push_str(&value[..value.len() - trimmed.len()]);
        let (quote, text) = match trimmed.chars().next() {
            Some(quote @ ('"' | '\'')) => (Some(quote), &trimmed[1..]),
            _ => (None, trimmed),
        };
        let end = match quote {
            Some(quote) => text.find(quote),
            None => text.find(|c: char| c.is_whitespace() || c == '>'),
        };
        let (text, after) = text.split_at(end.unwrap_or(text.len()));
        let wanted = attributes.iter().any(|held| held.eq_ignore_ascii_case(attribute));
        let new = Some(text).filter(|_| wanted).and_then(|text| link(&text.replace("&amp;", "&")));
        let new = new.map(|new| new.replace('&', "&amp;").replace('"', "&#34;").replace('\'', "&#39;"));
        out.extend(quote);
        out.push_str(new.as_deref().unwrap_or(text));
        rest = after;
        if let Some(quote) = quote.filter(|quote| rest.starts_with(*quote)) {
            out.push(quote);
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(text: &str) -> Option<String> {
        text.starts_with('/').then(|| format!("/proxy{text}"))
    }

    #[test]
    fn links_lead_through_the_proxy() {
        for (page, expected) in [
            ("<a href=\"/x?a=1&amp;b=2\">/y</a>", "<a href=\"/proxy/x?a=1&amp;b=2\">/y</a>"),
            ("<IMG alt='a>b' SRC = '/i.png'/>", "<IMG alt='a>b' SRC = '/proxy/i.png'/>"),
            ("<form action=/f method=post>", "<form action=/proxy/f method=post>"),
            ("<a href=x><a href='http://other/x'>", "<a href=x><a href='http://other/x'>"),
            ("<div href=\"/x\"> 1 < 2 </div>", "<div href=\"/x\"> 1 < 2 </div>"),
            ("<!-- <a href='/x'> --><a href='/y'", "<!-- <a href='/x'> --><a href='/proxy/y'"),
            ("<script src='/s'>'<a href=\"/x\">'</script>", "<script src='/proxy/s'>'<a href=\"/x\">'</script>"),
        ] {
            assert_eq!(rewrite(page, through), expected);
        }
    }

    #[test]
    fn nothing_but_links_changes() {
        for page in [
            "",
            "<",
            "a<",
            "<>",
            "<a",
            "<a href",
            "<a href=",
            "<a =\"",
            "</a",
            "<!--",
            "<é href='é'>",
            "<a x='é' é=\"é>",
        ] {
            assert_eq!(rewrite(page, |_| None), page);
        }
    }
}
