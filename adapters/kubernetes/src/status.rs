//! What is written into the status of objects: pure.

use std::collections::BTreeMap;

use lateen_adapter::{ObjectStatus, ParentStatus};
use lateen_model::{Diagnostic, Severity};
use serde_json::{Map, Value, json};

use crate::kinds::Kind;

/// Who writes it. <https://gateway-api.sigs.k8s.io/reference/spec/#gatewayclassspec>
pub(crate) const CONTROLLER: &str = "lateen.io/gateway-controller";

/// The longest message of a condition, in characters.
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/> allows 32768.
const MESSAGE_MAX: usize = 2000;

/// One thing that is so, or not.
struct Condition<'a> {
    kind: &'a str,
    is_true: bool,
    reason: &'a str,
    message: String,
}

/// The status that an object should have; none when it has it already, or when it is not ours to write.
/// `class` is the class of a gateway of the Gateway API. `now` is RFC 3339.
pub(crate) fn next(
    kind: &Kind,
    object: &Value,
    class: Option<&Value>,
    status: &ObjectStatus,
    now: &str,
) -> Option<Value> {
    let old = object.get("status").cloned().unwrap_or_else(|| json!({}));
    let writing = Writing { old: &old, object, status, now };
    let new = match (kind.group, kind.name) {
        ("networking.istio.io", _) => writing.istio(),
        ("gateway.networking.k8s.io", "GatewayClass") => is_ours(object).then(|| writing.class())?,
        ("gateway.networking.k8s.io", "Gateway") => class.is_some_and(is_ours).then(|| writing.gateway())?,
        ("gateway.networking.k8s.io", "HTTPRoute" | "GRPCRoute") => writing.route()?,
        _ => return None,
    };
    (new != old).then_some(new)
}

fn is_ours(class: &Value) -> bool {
    class.pointer("/spec/controllerName").and_then(Value::as_str) == Some(CONTROLLER)
}

struct Writing<'a> {
    old: &'a Value,
    object: &'a Value,
    status: &'a ObjectStatus,
    now: &'a str,
}

impl Writing<'_> {
    /// <https://istio.io/latest/docs/reference/config/meta/v1alpha1/istio-status/>
    fn istio(&self) -> Value {
        let reconciled = match (&self.status.rejected, self.status.accepted) {
            (Some(rejected), _) => {
                condition("Reconciled", false, "RejectedByProxies", Some(&rejected.message))
            }
            (None, true) => condition("Reconciled", true, "InForce", self.messages().as_deref()),
            (None, false) => condition("Reconciled", false, "Invalid", self.messages().as_deref()),
        };
        let mut new = self.fields();
        new.insert("conditions".to_owned(), self.conditions(self.old, &[reconciled]));
        let found: Vec<Value> = self.status.findings.iter().map(validation_message).collect();
        if found.is_empty() {
            new.remove("validationMessages");
        } else {
            new.insert("validationMessages".to_owned(), found.into());
        }
        if let Some(generation) = self.status.generation {
            new.insert("observedGeneration".to_owned(), generation.into());
        }
        Value::Object(new)
    }

    /// <https://gateway-api.sigs.k8s.io/reference/spec/#gatewayclassstatus>
    fn class(&self) -> Value {
        let reason = if self.status.accepted { "Accepted" } else { "InvalidParameters" };
        let accepted = condition("Accepted", self.status.accepted, reason, self.messages().as_deref());
        let mut new = self.fields();
        new.insert("conditions".to_owned(), self.conditions(self.old, &[accepted]));
        Value::Object(new)
    }

    /// <https://gateway-api.sigs.k8s.io/reference/spec/#gatewaystatus>
    fn gateway(&self) -> Value {
        let mut new = self.fields();
        new.insert("conditions".to_owned(), self.conditions(self.old, &self.gateway_conditions()));
        let listeners = self.object.pointer("/spec/listeners").and_then(Value::as_array);
        let listeners: Vec<Value> =
            listeners.into_iter().flatten().filter_map(|listener| self.listener(listener)).collect();
        new.insert("listeners".to_owned(), listeners.into());
        Value::Object(new)
    }

    fn gateway_conditions(&self) -> [Condition<'static>; 2] {
        let (is_accepted, messages) = (self.status.accepted, self.messages());
        let accepted = condition(
            "Accepted",
            is_accepted,
            if is_accepted { "Accepted" } else { "Invalid" },
            messages.as_deref(),
        );
        let programmed = match &self.status.rejected {
            Some(rejected) => condition("Programmed", false, "Invalid", Some(&rejected.message)),
            None if is_accepted => condition("Programmed", true, "Programmed", None),
            None => condition("Programmed", false, "Invalid", messages.as_deref()),
        };
        [accepted, programmed]
    }

    /// <https://gateway-api.sigs.k8s.io/reference/spec/#listenerstatus>
    fn listener(&self, listener: &Value) -> Option<Value> {
        let name = listener.get("name")?.as_str()?;
        let old = self.old.get("listeners").and_then(Value::as_array).into_iter().flatten();
        let empty = json!({});
        let old = old
            .into_iter()
            .find(|old| old.get("name").and_then(Value::as_str) == Some(name))
            .unwrap_or(&empty);
        let kinds = supported_kinds(listener);
        let is_resolved = kinds.1;
        let reason = if is_resolved { "ResolvedRefs" } else { "InvalidRouteKinds" };
        let mut conditions = self.gateway_conditions().into_iter().collect::<Vec<_>>();
        conditions.push(condition("ResolvedRefs", is_resolved, reason, None));
        Some(json!({
            "name": name,
            "supportedKinds": kinds.0,
            "attachedRoutes": self.status.listeners.get(name).copied().unwrap_or(0),
            "conditions": self.conditions(old, &conditions),
        }))
    }

    /// <https://gateway-api.sigs.k8s.io/reference/spec/#routestatus>: one entry for each parent of ours; those of other
    /// controllers stay as they are.
    fn route(&self) -> Option<Value> {
        let olds: Vec<&Value> =
            self.old.get("parents").and_then(Value::as_array).into_iter().flatten().collect();
        let is_mine = |entry: &Value| entry.get("controllerName").and_then(Value::as_str) == Some(CONTROLLER);
        let mut entries: Vec<Value> = olds.iter().copied().filter(|entry| !is_mine(entry)).cloned().collect();
        let references = self.object.pointer("/spec/parentRefs").and_then(Value::as_array);
        for reference in references.into_iter().flatten() {
            let Some(parent) = self.parent(reference) else { continue };
            let empty = json!({});
            let mine = |entry: &&Value| is_mine(entry) && entry.get("parentRef") == Some(reference);
            let old = olds.iter().copied().find(mine).unwrap_or(&empty);
            entries.push(json!({
                "parentRef": reference,
                "controllerName": CONTROLLER,
                "conditions": self.conditions(old, &self.parent_conditions(parent)),
            }));
        }
        // Without a parent of ours, now or before, there is nothing to say.
        if !entries.iter().any(is_mine) && !olds.into_iter().any(is_mine) {
            return None;
        }
        let mut new = self.fields();
        new.insert("parents".to_owned(), entries.into());
        Some(Value::Object(new))
    }

    /// How the route stands to the parent that a reference names, if that is one of ours.
    fn parent(&self, reference: &Value) -> Option<&ParentStatus> {
        let text = |name: &str| reference.get(name).and_then(Value::as_str);
        let own = self.object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
        let (kind, namespace) = (text("kind").unwrap_or("Gateway"), text("namespace").unwrap_or(own));
        let name = text("name")?;
        self.status
            .parents
            .iter()
            .find(|parent| parent.kind == kind && parent.namespace == namespace && parent.name == name)
            .filter(|parent| parent.known)
    }

    fn parent_conditions(&self, parent: &ParentStatus) -> [Condition<'static>; 2] {
        let rejected = self.status.rejected.as_ref().map(|rejected| rejected.message.as_str());
        let accepted = if let Some(why) = &parent.refused {
            condition("Accepted", false, why.reason.as_str(), Some(&why.message))
        } else if !self.status.accepted || rejected.is_some() {
            let messages = self.messages();
            condition("Accepted", false, "UnsupportedValue", rejected.or(messages.as_deref()))
        } else {
            condition("Accepted", true, "Accepted", None)
        };
        let resolved = match &parent.unresolved {
            Some(why) => condition("ResolvedRefs", false, why.reason.as_str(), Some(&why.message)),
            None => condition("ResolvedRefs", true, "ResolvedRefs", None),
        };
        [accepted, resolved]
    }

    /// The conditions that were there, with these in place of their likes. The time changes only with the state.
    /// <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md#typical-status-properties>
    fn conditions(&self, old: &Value, new: &[Condition<'_>]) -> Value {
        let mut conditions: Vec<Value> =
            old.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
        let generation =
            self.status.generation.or_else(|| self.object.pointer("/metadata/generation")?.as_i64());
        for condition in new {
            let state = if condition.is_true { "True" } else { "False" };
            let mut fields = json!({
                "type": condition.kind,
                "status": state,
                "reason": condition.reason,
                "message": condition.message,
                "lastTransitionTime": self.now,
            });
            if let Some(generation) = generation {
                fields["observedGeneration"] = generation.into();
            }
            let same = |old: &&mut Value| old.get("type").and_then(Value::as_str) == Some(condition.kind);
            match conditions.iter_mut().find(same) {
                Some(old) => {
                    let since = old.get("lastTransitionTime").filter(|since| since.is_string());
                    if let (Some(since), Some(state_before)) = (since, old.get("status"))
                        && *state_before == *state
                    {
                        fields["lastTransitionTime"] = since.clone();
                    }
                    *old = fields;
                }
                None => conditions.push(fields),
            }
        }
        conditions.into()
    }

    fn fields(&self) -> Map<String, Value> {
        self.old.as_object().cloned().unwrap_or_default()
    }

    /// What was found, worst first, as one text.
    fn messages(&self) -> Option<String> {
        let mut found: Vec<&Diagnostic> = self.status.findings.iter().collect();
        found.sort_by_key(|finding| finding.severity);
        let lines: Vec<String> = found
            .into_iter()
            .map(|finding| {
                let at = if finding.path.is_empty() { String::new() } else { format!("{}: ", finding.path) };
                format!("{} {at}{}", finding.code.0, finding.message)
            })
            .collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }
}

fn condition<'a>(kind: &'a str, is_true: bool, reason: &'a str, message: Option<&str>) -> Condition<'a> {
    let message = message.unwrap_or_default().chars().take(MESSAGE_MAX).collect();
    Condition { kind, is_true, reason, message }
}

fn validation_message(finding: &Diagnostic) -> Value {
    let level = match finding.severity {
        Severity::Error => "ERROR",
        Severity::Warning => "WARNING",
        Severity::Info => "INFO",
    };
    let mut message = json!({"type": {"code": finding.code.0, "name": finding.code.0}, "level": level});
    // Istio's own definition of the kind has no place for these and drops them; the condition has them too.
    let texts: BTreeMap<&str, &str> = [("message", &*finding.message), ("path", &*finding.path)]
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .collect();
    for (name, text) in texts {
        message[name] = text.into();
    }
    message
}

/// Kinds of routes that a listener takes, and whether all that it asks for are among them.
/// <https://gateway-api.sigs.k8s.io/reference/spec/#allowedroutes>
fn supported_kinds(listener: &Value) -> (Vec<Value>, bool) {
    const GROUP: &str = "gateway.networking.k8s.io";
    let protocol = listener.get("protocol").and_then(Value::as_str).unwrap_or_default();
    let possible: &[&str] = match protocol {
        "HTTP" | "HTTPS" => &["HTTPRoute", "GRPCRoute"],
        _ => &[],
    };
    let asked =
        listener.pointer("/allowedRoutes/kinds").and_then(Value::as_array).filter(|kinds| !kinds.is_empty());
    let show = |kind: &str| json!({"group": GROUP, "kind": kind});
    let Some(asked) = asked else { return (possible.iter().map(|kind| show(kind)).collect(), true) };
    let known = |asked: &Value| {
        let group = asked.get("group").and_then(Value::as_str).unwrap_or(GROUP);
        let kind = asked.get("kind").and_then(Value::as_str)?;
        (group == GROUP && possible.contains(&kind)).then(|| show(kind))
    };
    let kinds: Vec<Value> = asked.iter().filter_map(known).collect();
    let all = kinds.len() == asked.len();
    (kinds, all)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lateen_adapter::{Because, Refusal, Rejected, Unresolved};
    use lateen_model::diagnostic::Code;

    use super::*;
    use crate::kinds::KINDS;

    fn kind(full: &str) -> &'static Kind {
        KINDS.iter().find(|kind| kind.full_name() == full).unwrap()
    }

    fn accepted() -> ObjectStatus {
        ObjectStatus { accepted: true, generation: Some(2), ..ObjectStatus::default() }
    }

    fn finding(severity: Severity, message: &str) -> Diagnostic {
        Diagnostic {
            code: Code("LAT1001"),
            severity,
            object: None,
            origin: None,
            path: "spec.http[0]".to_owned(),
            message: message.to_owned(),
            hint: None,
        }
    }

    #[test]
    fn istio_says_what_was_found_and_when_that_changed() {
        let route = kind("VirtualService.networking.istio.io");
        let mut object = json!({"metadata": {"name": "a", "generation": 2}});
        let first = next(route, &object, None, &accepted(), "t1").unwrap();
        let expected = json!({
            "conditions": [{
                "type": "Reconciled", "status": "True", "reason": "InForce", "message": "",
                "lastTransitionTime": "t1", "observedGeneration": 2,
            }],
            "observedGeneration": 2,
        });
        assert_eq!(first, expected);
        object["status"] = first;
        assert_eq!(next(route, &object, None, &accepted(), "t2"), None, "nothing has changed but the time");
        let findings = [finding(Severity::Warning, "odd"), finding(Severity::Error, "no such host")];
        let bad =
            ObjectStatus { findings: Arc::from(findings), generation: Some(3), ..ObjectStatus::default() };
        let second = next(route, &object, None, &bad, "t3").unwrap();
        let condition = &second["conditions"][0];
        assert_eq!((&condition["status"], &condition["lastTransitionTime"]), (&json!("False"), &json!("t3")));
        assert_eq!(condition["message"], "LAT1001 spec.http[0]: no such host; LAT1001 spec.http[0]: odd");
        assert_eq!(second["validationMessages"][1]["level"], "ERROR");
        let rejected = Some(Rejected { proxies: 2, message: "bad regex".to_owned() });
        let third = next(route, &object, None, &ObjectStatus { rejected, ..accepted() }, "t4").unwrap();
        assert_eq!(third["conditions"][0]["reason"], "RejectedByProxies");
    }

    #[test]
    fn others_conditions_and_parents_stay() {
        let route = kind("HTTPRoute.gateway.networking.k8s.io");
        let object = json!({
            "metadata": {"name": "r", "namespace": "n", "generation": 2},
            "spec": {"parentRefs": [
                {"name": "g", "sectionName": "a"}, {"name": "g", "sectionName": "b"}, {"name": "theirs"},
            ]},
            "status": {"parents": [{"controllerName": "other/one", "parentRef": {"name": "theirs"}, "conditions": []}]},
        });
        let parent = |name: &str, known, unresolved: Option<&str>| ParentStatus {
            kind: "Gateway",
            namespace: "n".to_owned(),
            name: name.to_owned(),
            known,
            refused: None,
            unresolved: unresolved
                .map(|why| Because { reason: Unresolved::RefNotPermitted, message: why.to_owned() }),
        };
        let parents = [parent("g", true, Some("no service x")), parent("theirs", false, None)];
        let status = ObjectStatus { parents: Arc::from(parents), ..accepted() };
        let new = next(route, &object, None, &status, "t").unwrap();
        let entries = new["parents"].as_array().unwrap();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0], object["status"]["parents"][0]);
        assert_eq!(entries[2]["parentRef"], json!({"name": "g", "sectionName": "b"}));
        let conditions = entries[1]["conditions"].as_array().unwrap();
        assert_eq!((&conditions[0]["type"], &conditions[0]["status"]), (&json!("Accepted"), &json!("True")));
        assert_eq!(
            (&conditions[1]["type"], &conditions[1]["status"]),
            (&json!("ResolvedRefs"), &json!("False"))
        );
        assert_eq!(conditions[1]["observedGeneration"], 2);
        assert_eq!(conditions[1]["reason"], "RefNotPermitted");
        // A route that a parent refuses is not accepted there, with the parent's reason.
        let mut refused = parent("g", true, None);
        let message = "no listener".to_owned();
        refused.refused = Some(Because { reason: Refusal::NoMatchingParent, message });
        let status = ObjectStatus { parents: Arc::from([refused]), ..accepted() };
        let new = next(route, &object, None, &status, "t").unwrap();
        let accepted_condition = &new["parents"][1]["conditions"][0];
        assert_eq!(
            (&accepted_condition["status"], &accepted_condition["reason"]),
            (&json!("False"), &json!("NoMatchingParent"))
        );
        // A route of nobody of ours is left alone.
        let none = ObjectStatus { parents: Arc::from([parent("theirs", false, None)]), ..accepted() };
        assert_eq!(next(route, &object, None, &none, "t"), None);
    }

    #[test]
    fn gateways_of_our_class_only() {
        let gateway = kind("Gateway.gateway.networking.k8s.io");
        let object = json!({"metadata": {"generation": 2}, "spec": {"listeners": [
            {"name": "web", "protocol": "HTTP"},
            {"name": "odd", "protocol": "HTTP", "allowedRoutes": {"kinds": [{"kind": "HTTPRoute"}, {"kind": "TCPRoute"}]}},
        ]}});
        let class = |controller: &str| json!({"spec": {"controllerName": controller}});
        assert_eq!(next(gateway, &object, Some(&class("other/one")), &accepted(), "t"), None);
        assert_eq!(next(gateway, &object, None, &accepted(), "t"), None);
        let status = ObjectStatus { listeners: Arc::new([("web".to_owned(), 3)].into()), ..accepted() };
        let new = next(gateway, &object, Some(&class(CONTROLLER)), &status, "t").unwrap();
        let types = |conditions: &Value| {
            let of = |c: &Value| format!("{}={}", c["type"].as_str().unwrap(), c["status"].as_str().unwrap());
            conditions.as_array().unwrap().iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(types(&new["conditions"]), ["Accepted=True", "Programmed=True"]);
        assert_eq!(new["listeners"][0]["attachedRoutes"], 3);
        assert_eq!(new["listeners"][0]["supportedKinds"].as_array().unwrap().len(), 2);
        let odd = &new["listeners"][1];
        assert_eq!(types(&odd["conditions"]), ["Accepted=True", "Programmed=True", "ResolvedRefs=False"]);
        assert_eq!(
            odd["supportedKinds"],
            json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}])
        );
        let class_kind = kind("GatewayClass.gateway.networking.k8s.io");
        assert_eq!(next(class_kind, &class("other/one"), None, &accepted(), "t"), None);
        let new = next(class_kind, &class(CONTROLLER), None, &accepted(), "t").unwrap();
        assert_eq!(types(&new["conditions"]), ["Accepted=True"]);
    }
}
