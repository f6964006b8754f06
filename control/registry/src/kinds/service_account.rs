//! ServiceAccount.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServiceAccount;

use crate::kind::Kind;
use crate::strategy::{Cell, Column, Subresource};
use crate::table;

/// ServiceAccounts.
pub(crate) struct ServiceAccounts;

impl Kind for ServiceAccounts {
    type Object = ServiceAccount;

    const SINGULAR: &'static str = "serviceaccount";
    const SHORT_NAMES: &'static [&'static str] = &["sa"];
    const SUBRESOURCES: &'static [Subresource] = &[Subresource::Token];
    const COLUMNS: &'static [Column] =
        &[table::NAME, table::number("Secrets", "How many secrets its pods may use."), table::AGE];

    fn row(object: &ServiceAccount, now: Timestamp) -> Vec<Cell> {
        let secrets = object.secrets.iter().flatten().count();
        vec![table::name(&object.metadata), Cell::from(secrets), table::age(&object.metadata, now)]
    }
}
