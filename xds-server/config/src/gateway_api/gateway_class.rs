//! `GatewayClass`. <https://gateway-api.sigs.k8s.io/reference/spec/#gatewayclass>

use super::common::ObjectReference;
use crate::decode::object;

object! {
    /// Who is responsible for gateways of this class.
    pub struct GatewayClass {
        controller_name: String = "controllerName",
        parameters_ref: Option<ObjectReference> = "parametersRef"
            without_effect "a class has no parameters",
        description: Option<String> = "description",
    }
}
