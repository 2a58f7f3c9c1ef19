//! `rebalance`: asks the operator for one round, by an annotation with the time.

use im_operator_api::REBALANCE_ANNOTATION;
use jiff::Timestamp;

use crate::access::{Access, annotated, is_paused, name};
use crate::cli::RebalanceArgs;
use crate::output::{Outcome, print, refused};

/// Asks for it.
pub(crate) async fn run(access: &Access, args: &RebalanceArgs) -> anyhow::Result<Outcome> {
    let cluster = access.cluster(args.name.as_deref()).await?;
    let name = name(&cluster);
    if is_paused(&cluster) {
        return Err(refused(format!("{name} is paused: nobody would be moved")));
    }
    let now = format!("{:.0}", Timestamp::now());
    let path = access.cluster_path(name)?;
    access
        .merge(&path, &annotated(REBALANCE_ANNOTATION, Some(&now)))
        .await?;
    print(&format!(
        "{name} is to even out the connections of its msg pods once, asked for at {now}\n"
    ))?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    #[tokio::test]
    async fn a_round_is_asked_for_by_its_time_and_not_while_it_is_paused() {
        for paused in [false, true] {
            let (access, log) = testing::server(move |_| {
                let spec = json!({"operation": {"paused": paused}});
                (200, json!({"metadata": {"name": "demo"}, "spec": spec}))
            });
            let args = RebalanceArgs {
                name: Some("demo".to_owned()),
            };
            let result = run(&access, &args).await;
            assert_eq!(result.is_err(), paused);
            let asked = log.take();
            let time =
                asked.last().unwrap().body["metadata"]["annotations"]["imcluster.io/rebalance"]
                    .as_str()
                    .map(str::to_owned);
            assert_eq!(time.is_none(), paused);
            if let Some(time) = time {
                assert!(time.parse::<Timestamp>().is_ok(), "{time}");
            }
        }
    }
}
