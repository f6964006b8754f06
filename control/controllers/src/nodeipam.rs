//! A range of pod addresses for each node, of each family that the cluster has. What is in use is what the Node objects say, and
//! the API server takes no range twice.

mod plan;
mod run;

pub(crate) use run::run;
