//! `skep token`: bootstrap tokens, by which nodes join.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use skep_server::{Token, TokenEntry};

use crate::settings::{self, default_state_dir, duration};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// The admin's kubeconfig [default: that of the cluster NAME].
    #[arg(long, env = "KUBECONFIG", global = true)]
    kubeconfig: Option<PathBuf>,
    /// The cluster's name.
    #[arg(long, default_value = "skep", global = true)]
    name: String,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Make a token and print it.
    #[command(after_help = "Example: skep token create --ttl 2h --print-join-command")]
    Create {
        /// The token itself [default: a random one].
        token: Option<Token>,
        /// How long it can be used, e.g. 24h; 0s is for ever.
        #[arg(long, default_value = "24h", value_parser = duration)]
        ttl: Duration,
        /// What it is for.
        #[arg(long, default_value = "")]
        description: String,
        /// Print the whole command that joins a node.
        #[arg(long)]
        print_join_command: bool,
    },
    /// List all tokens.
    List,
    /// Make tokens unusable.
    #[command(after_help = "Example: skep token delete abcdef")]
    Delete {
        /// Tokens, or the part before their dot.
        #[arg(required = true)]
        tokens: Vec<String>,
    },
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    settings::block_on(answer(args)).map(|()| ExitCode::SUCCESS)
}

async fn answer(args: &Args) -> Result<()> {
    let path = args.kubeconfig.clone().unwrap_or_else(|| default_state_dir(&args.name).join("admin.kubeconfig"));
    let kubeconfig = Kubeconfig::read_from(&path).with_context(|| format!("read {}", path.display()))?;
    let authority = authority(&kubeconfig);
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    match &args.verb {
        Verb::Create { token, ttl, description, print_join_command } => {
            let token = token.clone().unwrap_or_else(Token::generate);
            let lifetime = Some(*ttl).filter(|ttl| !ttl.is_zero());
            skep_server::create_token(&client, &token, lifetime, description).await?;
            if *print_join_command {
                let hash = skep_server::authority_hash(&authority?)?;
                let server = advertised(&client).await?;
                println!("skep node --server {server} --token {token} --ca-cert-hash {hash}");
            } else {
                println!("{token}");
            }
        }
        Verb::List => print(&skep_server::list_tokens(&client).await?),
        Verb::Delete { tokens } => {
            for token in tokens {
                let id = token.split('.').next().unwrap_or_default();
                skep_server::delete_token(&client, id).await?;
                println!("token {id} deleted");
            }
        }
    }
    Ok(())
}

fn authority(kubeconfig: &Kubeconfig) -> Result<String> {
    let cluster = kubeconfig.clusters.first().and_then(|named| named.cluster.as_ref());
    let data = cluster.and_then(|cluster| cluster.certificate_authority_data.clone());
    let data = data.context("the kubeconfig does not hold the authority's certificate")?;
    String::from_utf8(STANDARD.decode(data)?).context("the authority's certificate is not text")
}

/// Where nodes reach the API server, which need not be where this machine does.
async fn advertised(client: &Client) -> Result<String> {
    let api = kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(client.clone(), "kube-public");
    let map = api.get("cluster-info").await.context("read cluster-info")?;
    let text = map.data.as_ref().and_then(|data| data.get("kubeconfig")).context("cluster-info holds no kubeconfig")?;
    let config: serde_json::Value = serde_saphyr::from_str(text).context("parse cluster-info")?;
    let server = config.pointer("/clusters/0/cluster/server").and_then(serde_json::Value::as_str);
    Ok(server.context("cluster-info names no server")?.to_owned())
}

fn print(entries: &[TokenEntry]) {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(["TOKEN", "EXPIRES", "DESCRIPTION"]);
    for entry in entries {
        let expires = match entry.expires {
            None => "never".to_owned(),
            Some(expires) if expires <= Timestamp::now() => format!("{expires} (expired)"),
            Some(expires) => expires.to_string(),
        };
        table.add_row([entry.token.to_string(), expires, entry.description.clone()]);
    }
    println!("{table}");
}
