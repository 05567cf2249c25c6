//! The argument of `COALESCE`: commands in JSON, of which the first one that gives something counts.

use serde_json::Value;

use super::{Call, Fault};

pub(super) fn fault(argument: &str) -> Option<Fault> {
    let wrong = |why: &str| Some(Fault::plain(format!("the command COALESCE can't be read: {why}")));
    let Ok(json) = serde_json::from_str::<Value>(argument) else { return wrong("its argument is not JSON") };
    let Some(operators) = json.get("operators").and_then(Value::as_array).filter(|list| !list.is_empty())
    else {
        return wrong("it needs a list \"operators\"");
    };
    for operator in operators {
        let object = operator.is_object();
        let name = if object { operator.get("command") } else { Some(operator) };
        let Some(name) = name.and_then(Value::as_str) else { return wrong("an operator has no command") };
        let argument = match operator.get("param") {
            None => "",
            Some(param) => match param.as_str() {
                Some(param) => param,
                None => return wrong("the param of an operator is not text"),
            },
        };
        let length = operator.get("max_length");
        if length.is_some_and(|length| length.as_u64().is_none_or(|length| length == 0)) {
            return wrong("the max_length of an operator is not a number above 0");
        }
        let call = Call { name, argument, has_length: length.is_some() };
        if let Some(fault) = call.fault() {
            return Some(fault);
        }
    }
    None
}
