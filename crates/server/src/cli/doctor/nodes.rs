//! The nodes of the hub, as they know of each other.

use std::collections::BTreeMap;

use fanfare_client::api::NodeInfo;
use fanfare_client::{Api, Error};

use super::Finding;

/// Asks for all nodes; needs a key that may.
pub(super) async fn look(api: &Api, has_key: bool) -> Vec<Finding> {
    if !has_key {
        return vec![Finding::skipped("nodes", "set FANFARE_API_KEY to compare their versions")];
    }
    match api.info().await {
        Ok(nodes) => of_nodes(&nodes),
        Err(error @ Error::Http { status: 404, .. }) => {
            vec![Finding::skipped("nodes", format!("{error}: the server API is not open here"))]
        }
        Err(error) => {
            vec![Finding::problem("nodes", error.to_string(), "what FANFARE_API_KEY may do stands under [api]")]
        }
    }
}

fn of_nodes(nodes: &[NodeInfo]) -> Vec<Finding> {
    let (mut versions, mut names) = (BTreeMap::<&str, Vec<&str>>::new(), BTreeMap::<&str, usize>::new());
    for node in nodes {
        versions.entry(&node.version).or_default().push(&node.name);
        *names.entry(&node.name).or_default() += 1;
    }
    let listed = versions.iter().map(|(version, nodes)| format!("{version}: {}", nodes.join(", "))).collect::<Vec<_>>();
    let mut findings = vec![match versions.len() {
        1 => Finding::good("nodes", format!("{} of version {}", nodes.len(), listed.join("; "))),
        _ => Finding::warning(
            "nodes",
            listed.join("; "),
            "finish the upgrade: nodes of two versions are for the time between",
        ),
    }];
    let twice: Vec<&str> = names.iter().filter(|(_, count)| **count > 1).map(|(name, _)| *name).collect();
    if !twice.is_empty() {
        let text = format!("several nodes are called {}", twice.join(", "));
        findings.push(Finding::warning(
            "names",
            text,
            "give each its own node.name, so that errors and logs can name it",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn judged(nodes: &[(&str, &str)]) -> Vec<Verdict> {
        let nodes: Vec<NodeInfo> = nodes
            .iter()
            .map(|(name, version)| {
                let text = format!(
                    r#"{{"uid":"u","name":"{name}","version":"{version}","num_clients":1,"num_users":1,"num_subs":1,"num_channels":1,"uptime":1}}"#
                );
                serde_json::from_str(&text).unwrap()
            })
            .collect();
        of_nodes(&nodes).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn versions_and_names_are_compared() {
        assert_eq!(judged(&[("a", "0.1.0"), ("b", "0.1.0")]), [Verdict::Good]);
        assert_eq!(judged(&[("a", "0.1.0"), ("b", "0.2.0")]), [Verdict::Warning]);
        assert_eq!(judged(&[("a", "0.1.0"), ("a", "0.1.0")]), [Verdict::Good, Verdict::Warning]);
    }
}
