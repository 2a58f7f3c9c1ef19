//! The API server's audit log: what a program asked for, held against what it may ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Context;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;

/// A permission: API group, resource (with `/` and subresource) and verb.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// API group; empty for the first one.
    pub group: String,
    /// Resource, as in a rule.
    pub resource: String,
    /// Verb.
    pub verb: String,
}

impl fmt::Display for Permission {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            group,
            resource,
            verb,
        } = self;
        match group.as_str() {
            "" => write!(out, "{verb} {resource}"),
            group => write!(out, "{verb} {resource}.{group}"),
        }
    }
}

/// A request that the API server answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asked: `system:serviceaccount:<namespace>:<name>` for a pod.
    pub user: String,
    /// What was asked for.
    pub permission: Permission,
    /// Namespace of the object, if it has one.
    pub namespace: String,
    /// Name of the object, if one was named.
    pub name: String,
    /// Status of the answer.
    pub code: u64,
    /// Whether permission was denied.
    pub denied: bool,
    /// When it came, in the log's form (RFC 3339), which sorts by time.
    pub received: String,
    /// When it was answered.
    pub time: String,
}

impl Request {
    fn read(line: &str) -> anyhow::Result<Option<Self>> {
        let event: Value = serde_json::from_str(line)?;
        let text = |path: &str| {
            let value = event.pointer(path).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        // Only resources have one: discovery and health are open to everybody.
        if event.pointer("/objectRef/resource").is_none() {
            return Ok(None);
        }
        let resource = match text("/objectRef/subresource") {
            part if part.is_empty() => text("/objectRef/resource"),
            part => format!("{}/{part}", text("/objectRef/resource")),
        };
        Ok(Some(Self {
            user: text("/user/username"),
            permission: Permission {
                group: text("/objectRef/apiGroup"),
                resource,
                verb: text("/verb"),
            },
            namespace: text("/objectRef/namespace"),
            name: text("/objectRef/name"),
            code: event
                .pointer("/responseStatus/code")
                .and_then(Value::as_u64)
                .unwrap_or_default(),
            denied: text("/annotations/authorization.k8s.io~1decision") == "forbid",
            received: text("/requestReceivedTimestamp"),
            time: text("/stageTimestamp"),
        }))
    }

    /// Whether it changes something.
    pub fn writes(&self) -> bool {
        !["get", "list", "watch"].contains(&self.permission.verb.as_str())
    }

    /// The namespace of the ServiceAccount that asked, if it has this name.
    pub fn of_account(&self, name: &str) -> Option<&str> {
        let account = self.user.strip_prefix("system:serviceaccount:")?;
        let (namespace, found) = account.split_once(':')?;
        (found == name).then_some(namespace)
    }
}

/// Reads an audit log; requests for things that are no resources are left out.
///
/// # Errors
/// The file cannot be read, or has a line that is no event.
pub fn read(log: &Path) -> anyhow::Result<Vec<Request>> {
    let file = File::open(log).with_context(|| format!("open {}", log.display()))?;
    let mut requests = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let request = Request::read(&line?);
        let request = request.with_context(|| format!("{}:{number}", log.display()))?;
        requests.extend(request);
    }
    Ok(requests)
}

/// What is wrong with the rules of a ServiceAccount, in one line each: requests that were denied, and
/// permissions that nobody used. Requests count until somebody takes a Role or the namespace away, which
/// may show before that request is answered.
pub fn compare(requests: &[Request], account: &str, rules: &[PolicyRule]) -> Vec<String> {
    let ends = ends(requests);
    let mut used = BTreeSet::new();
    let mut wrong = BTreeSet::new();
    for request in requests {
        let Some(home) = request.of_account(account) else {
            continue;
        };
        let over = [home, &request.namespace].iter().any(|namespace| {
            ends.get(*namespace)
                .is_some_and(|end| *end <= &request.time)
        });
        if !request.denied {
            used.insert(request.permission.clone());
            // Applying what does not exist needs both.
            if request.permission.verb == "patch" && request.code == 201 {
                let verb = "create".to_owned();
                used.insert(Permission {
                    verb,
                    ..request.permission.clone()
                });
            }
        } else if !over {
            wrong.insert(format!("denied: {} ({})", request.permission, request.user));
        }
    }
    let unused = granted(rules).filter(|permission| !used.contains(permission));
    wrong.extend(unused.map(|permission| format!("never used: {permission}")));
    wrong.into_iter().collect()
}

/// When somebody first asked to delete each namespace, or a Role or binding in or for it.
fn ends(requests: &[Request]) -> BTreeMap<&str, &String> {
    let mut ends = BTreeMap::new();
    for request in requests {
        let Request {
            permission, name, ..
        } = request;
        if request.code >= 300 || !permission.verb.starts_with("delete") {
            continue;
        }
        let namespace = match permission.resource.as_str() {
            "namespaces" => name,
            "roles" | "rolebindings" => &request.namespace,
            // The chart calls them `<namespace>-<operator>`; namespaces of tests end in a number.
            "clusterroles" | "clusterrolebindings" => match name.split_once("-im-operator") {
                Some((namespace, _)) => {
                    ends.entry(namespace).or_insert(&request.received);
                    continue;
                }
                None => continue,
            },
            _ => continue,
        };
        ends.entry(namespace.as_str()).or_insert(&request.received);
    }
    ends
}

fn granted(rules: &[PolicyRule]) -> impl Iterator<Item = Permission> {
    rules.iter().flat_map(|rule| {
        let groups = rule.api_groups.iter().flatten();
        groups.flat_map(move |group| {
            let resources = rule.resources.iter().flatten();
            resources.flat_map(move |resource| {
                rule.verbs.iter().map(move |verb| Permission {
                    group: group.clone(),
                    resource: resource.clone(),
                    verb: verb.clone(),
                })
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A request that was answered then and came a second before.
    fn line(user: &str, verb: &str, resource: &str, code: u32, decision: &str, at: u32) -> String {
        json!({
            "verb": verb,
            "user": {"username": user},
            "objectRef": {"resource": resource, "namespace": "a", "name": "x"},
            "responseStatus": {"code": code},
            "annotations": {"authorization.k8s.io/decision": decision},
            "requestReceivedTimestamp": format!("2026-01-01T00:00:{:02}.000000Z", at - 1),
            "stageTimestamp": format!("2026-01-01T00:00:{at:02}.000000Z"),
        })
        .to_string()
    }

    fn rules(resources: &[&str], verbs: &[&str]) -> Vec<PolicyRule> {
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        vec![PolicyRule {
            api_groups: Some(vec![String::new()]),
            resources: Some(texts(resources)),
            verbs: texts(verbs),
            ..PolicyRule::default()
        }]
    }

    const OPERATOR: &str = "system:serviceaccount:a:im-operator";

    fn compared(lines: &[String], rules: &[PolicyRule]) -> Vec<String> {
        let requests: Vec<Request> = lines
            .iter()
            .filter_map(|line| Request::read(line).unwrap())
            .collect();
        compare(&requests, "im-operator", rules)
    }

    #[test]
    fn what_is_denied_or_never_used_is_named() {
        let lines = [
            line(OPERATOR, "list", "pods", 200, "allow", 1),
            line(OPERATOR, "patch", "pods", 201, "allow", 2),
            line(OPERATOR, "get", "secrets", 403, "forbid", 3),
            line(
                "system:serviceaccount:a:other",
                "get",
                "pods",
                200,
                "allow",
                4,
            ),
        ];
        let granted = rules(&["pods"], &["create", "get", "list", "patch"]);
        assert_eq!(
            compared(&lines, &granted),
            [
                format!("denied: get secrets ({OPERATOR})"),
                "never used: get pods".to_owned()
            ]
        );
    }

    #[test]
    fn what_is_denied_after_the_end_says_nothing() {
        let lines = [
            line(OPERATOR, "get", "pods", 200, "allow", 1),
            line("admin", "delete", "rolebindings", 200, "allow", 5),
            line(OPERATOR, "get", "pods", 403, "forbid", 6),
        ];
        assert_eq!(compared(&lines, &rules(&["pods"], &["get"])), [""; 0]);
        let meanwhile = line(OPERATOR, "get", "pods", 403, "forbid", 4);
        let lines = [lines.as_slice(), &[meanwhile]].concat();
        assert_eq!(compared(&lines, &rules(&["pods"], &["get"])), [""; 0]);
        let early = line(OPERATOR, "get", "pods", 403, "forbid", 3);
        let lines = [lines.as_slice(), &[early]].concat();
        assert_eq!(compared(&lines, &rules(&["pods"], &["get"])).len(), 1);
    }
}
