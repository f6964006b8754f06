//! What a certificate signing request (PKCS#10) asks for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

/// The block that a request stands in.
const LABEL: &str = "CERTIFICATE REQUEST";

/// Why something is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRequestError {
    /// No PEM, or another block.
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    NotPem,
    /// The block does not hold a PKCS#10 request.
    #[error("the block is not a PKCS#10 certificate request")]
    Malformed,
    /// It was not signed by the key that it is for.
    #[error("the request is not signed by its own key")]
    Signature,
}

/// A request: its subject, and the names that the certificate is to be valid for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The subject's common name: a user.
    pub common_name: String,
    /// The subject's organizations: groups.
    pub organizations: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
    /// Other alternative names: mail addresses, URIs, and what else there is.
    pub other_names: usize,
}

impl CertificateRequest {
    /// Reads one PEM block, and checks that the request is signed by the key in it.
    ///
    /// # Errors
    /// It is no such block, or not signed so.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateRequestError> {
        let (_, block) = parse_x509_pem(pem).map_err(|_| CertificateRequestError::NotPem)?;
        if block.label != LABEL {
            return Err(CertificateRequestError::NotPem);
        }
        let (_, request) =
            X509CertificationRequest::from_der(&block.contents).map_err(|_| CertificateRequestError::Malformed)?;
        request.verify_signature().map_err(|_| CertificateRequestError::Signature)?;
        let subject = &request.certification_request_info.subject;
        let mut found = Self {
            common_name: subject.iter_common_name().filter_map(|name| name.as_str().ok()).collect(),
            organizations: subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            names.general_names.iter().for_each(|name| found.add(name));
        }
        Ok(found)
    }

    fn add(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(address) => self.addresses.push(address),
                None => self.other_names += 1,
            },
            _ => self.other_names += 1,
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}
