//! Certificates in time: the serving one as soon as the cluster grants it, both anew before they end.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::join::{Identity, client_path, serving_path};
use crate::keypair::KeyPair;
use crate::request::{Purpose, obtain};

const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Timers are no clocks: the time is looked at anew at least this often.
const LOOK: Duration = Duration::from_secs(60);

/// One of the two certificates.
#[derive(Clone, Copy, Debug)]
enum Which {
    Client,
    Serving,
}

impl Identity {
    /// Renews both certificates until `stop`. The Node must be registered for the serving one to be granted.
    pub async fn rotate(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            ((), ()) = async { tokio::join!(self.keep(Which::Client), self.keep(Which::Serving)) } => {}
        }
    }

    async fn keep(&self, which: Which) {
        let mut retry = RETRY_MIN;
        let mut renew_at = self.begin(which);
        loop {
            let left = Duration::try_from(renew_at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
            if !left.is_zero() {
                tokio::time::sleep(left.min(LOOK)).await;
                continue;
            }
            match self.renew(which).await {
                Ok(next) => {
                    renew_at = next;
                    retry = RETRY_MIN;
                }
                Err(error) => {
                    self.complain(which, &error, "certificate not renewed");
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Puts what is on disk in use, and says when it is to be renewed: at once where there is nothing good.
    fn begin(&self, which: Which) -> Timestamp {
        let taken = KeyPair::load(&self.path(which)).and_then(|pair| match pair {
            Some(pair) if fits(&pair, which, &self.options.addresses) => self.take(which, &pair).map(Some),
            _ => Ok(None),
        });
        match taken {
            Ok(renew_at) => renew_at.unwrap_or(Timestamp::UNIX_EPOCH),
            Err(error) => {
                self.complain(which, &error, "certificate on disk is of no use");
                Timestamp::UNIX_EPOCH
            }
        }
    }

    async fn renew(&self, which: Which) -> Result<Timestamp, Error> {
        let purpose = match which {
            Which::Client => Purpose::Client,
            Which::Serving => Purpose::Serving { addresses: &self.options.addresses },
        };
        let pair = obtain(&self.client(), &self.options.server, &self.options.node, &purpose).await?;
        pair.save(&self.path(which))?;
        let renew_at = match which {
            Which::Client => {
                self.client.replace(&pair).await?;
                renew_at(&pair)?
            }
            Which::Serving => self.take(which, &pair)?,
        };
        tracing::info!(node = self.options.node, ?which, %renew_at, "certificate in use");
        Ok(renew_at)
    }

    fn complain(&self, which: Which, error: &Error, what: &str) {
        let error = error as &dyn std::error::Error;
        tracing::warn!(node = self.options.node, ?which, error, "{what}");
    }

    fn take(&self, which: Which, pair: &KeyPair) -> Result<Timestamp, Error> {
        if let Which::Serving = which {
            self.serving.replace(pair)?;
        }
        renew_at(pair)
    }

    fn path(&self, which: Which) -> PathBuf {
        match which {
            Which::Client => client_path(&self.options),
            Which::Serving => serving_path(&self.options),
        }
    }
}

fn renew_at(pair: &KeyPair) -> Result<Timestamp, Error> {
    Ok(pair.lifetime()?.renew_at(rand::random()))
}

/// A serving certificate must be for the addresses that the node has now.
fn fits(pair: &KeyPair, which: Which, addresses: &[std::net::IpAddr]) -> bool {
    use x509_parser::extensions::GeneralName;
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    if let Which::Client = which {
        return true;
    }
    let Ok((_, block)) = x509_parser::pem::parse_x509_pem(pair.chain_pem.as_bytes()) else { return false };
    let Ok((_, certificate)) = X509Certificate::from_der(&block.contents) else { return false };
    let names = certificate.subject_alternative_name().ok().flatten().map(|names| &names.value.general_names);
    let held: Vec<&[u8]> = names
        .into_iter()
        .flatten()
        .filter_map(|name| match name {
            GeneralName::IPAddress(bytes) => Some(*bytes),
            _ => None,
        })
        .collect();
    addresses.iter().all(|address| match address {
        std::net::IpAddr::V4(address) => held.contains(&address.octets().as_slice()),
        std::net::IpAddr::V6(address) => held.contains(&address.octets().as_slice()),
    })
}
