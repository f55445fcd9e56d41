//! `transship dr flip`: leads clients to another site.

use std::sync::Arc;

use clap::Args;
use transship_engine::failover::{OperationKind, Order, Readiness, Switched};
use transship_oci::Result;

use super::group::Group;
use super::operator::switchover;
use super::report::{Report, text};
use crate::failure::Failure;
use crate::output::Form;

/// Arguments of `transship dr flip`.
#[derive(Debug, Args)]
#[command(
    after_help = "Refuses if the site cannot take over, or lags by more than the document accepts. A command that was interrupted is repeated to continue it. Before a record is changed, a flip to the old site takes it back.\n\nExamples:\n  transship dr flip main --to zhangjiakou --config transship.yaml --data /var/lib/transship\n  transship dr flip main --to zhangjiakou --zone vpc-a --config transship.yaml --data /var/lib/transship --json"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    group: Group,
    /// The site, by its registry
    #[arg(long, value_name = "SITE")]
    to: String,
    /// Only this zone
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Lose the images that the refusal lists; overrides nothing but lag
    #[arg(long)]
    accept_data_loss: bool,
}

/// Runs the command.
pub(crate) async fn run(arguments: Arguments, form: Form) -> Result<(), Failure> {
    crate::logging::begin_command();
    let opened = arguments.group.open().await?;
    let order = Order {
        kind: OperationKind::Flip,
        to: Some(arguments.to),
        zone: arguments.zone,
        accepts_data_loss: arguments.accept_data_loss,
    };
    let assess = Arc::new(super::check::check_of(&opened).await?);
    let switched = switchover(&opened, assess).await?.run(&opened.group, &order).await?;
    form.print(&report(&opened.group.name, switched), text)
}

fn report(group: &str, switched: Switched) -> Report<Readiness> {
    Report::new(group, switched.state, switched.is_unchanged, switched.readiness)
}
