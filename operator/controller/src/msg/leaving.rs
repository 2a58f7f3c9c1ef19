//! Msg pods that are to be emptied and go.

use im_operator_api::{DRAIN_ANNOTATION, OnNodes};

use super::address::Node;
use crate::cache::views::PodView;

/// Longest reason that is told, characters.
const MAX_REASON: usize = 200;

/// Why a pod is to go: somebody asked it to, or its node is to go. Where nodes may not be read there are none.
pub(super) fn why(pod: &PodView, nodes: &[Node], on_nodes: &OnNodes) -> Option<String> {
    if let Some(reason) = pod.annotations.get(DRAIN_ANNOTATION) {
        let reason = match reason.trim() {
            "" => "asked",
            reason => reason,
        };
        return Some(reason.chars().take(MAX_REASON).collect());
    }
    let name = pod.node.as_deref()?;
    let node = nodes.iter().find(|node| node.name == name)?;
    if on_nodes.unschedulable && node.unschedulable {
        return Some(format!("node {name} takes no new pods"));
    }
    let mut taints = node.taints.iter();
    let taint = taints.find(|taint| on_nodes.taints.contains(taint))?;
    Some(format!("node {name} has the taint {taint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_goes_when_it_is_asked_to_or_its_node_goes() {
        let mut pod = PodView {
            node: Some("a".to_owned()),
            ..PodView::default()
        };
        let mut node = Node {
            name: "a".to_owned(),
            address: "a.nodes".to_owned(),
            ready: true,
            leaving: false,
            unschedulable: false,
            taints: vec!["dedicated".to_owned()],
        };
        let mut rules = OnNodes::default();
        let asked = |pod: &PodView, node: &Node, rules: &OnNodes| {
            let other = Node {
                name: "b".to_owned(),
                unschedulable: true,
                ..node.clone()
            };
            why(pod, &[other, node.clone()], rules)
        };
        assert_eq!(asked(&pod, &node, &rules), None);
        node.unschedulable = true;
        let cordoned = asked(&pod, &node, &rules);
        assert_eq!(cordoned.as_deref(), Some("node a takes no new pods"));
        assert_eq!(why(&pod, &[], &rules), None, "nodes may not be read");
        rules.unschedulable = false;
        assert_eq!(asked(&pod, &node, &rules), None);
        node.taints.push("karpenter.sh/disrupted".to_owned());
        let tainted = asked(&pod, &node, &rules);
        let expected = "node a has the taint karpenter.sh/disrupted";
        assert_eq!(tainted.as_deref(), Some(expected));
        let key = DRAIN_ANNOTATION.to_owned();
        for (said, told) in [(" upgrade ", "upgrade"), ("", "asked")] {
            pod.annotations.insert(key.clone(), said.to_owned());
            assert_eq!(asked(&pod, &node, &rules).as_deref(), Some(told));
        }
        pod.annotations.insert(key, "x".repeat(500));
        let told = why(&pod, &[], &rules).unwrap();
        assert_eq!(told.len(), MAX_REASON);
    }
}
