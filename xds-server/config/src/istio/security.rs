//! Istio's security policies. <https://istio.io/latest/docs/reference/config/security/>

use std::{collections::BTreeMap, time::Duration};

use super::common::{PolicySelector, PolicyTarget};
use crate::decode::{choice, object};

object! {
    /// Who may call what.
    /// <https://istio.io/latest/docs/reference/config/security/authorization-policy/>
    pub struct AuthorizationPolicy {
        selector: Option<PolicySelector> = "selector",
        target_ref: Option<PolicyTarget> = "targetRef",
        target_refs: Vec<PolicyTarget> = "targetRefs",
        /// Without rules `ALLOW` denies all requests, and `DENY` none.
        rules: Vec<AuthorizationRule> = "rules",
        action: AuthorizationAction = "action",
        provider: Option<ProviderRef> = "provider",
    }
}

choice! {
    /// What happens to requests that a policy matches.
    pub enum AuthorizationAction { Allow = "ALLOW", Deny = "DENY", Audit = "AUDIT", Custom = "CUSTOM" }
}

object! {
    /// A provider that the mesh's configuration names.
    pub struct ProviderRef {
        name: String = "name",
    }
}

object! {
    /// Matches a request that comes from one of `from`, does one of `to`, and meets all of `when`.
    pub struct AuthorizationRule {
        from: Vec<RuleFrom> = "from",
        to: Vec<RuleTo> = "to",
        when: Vec<RuleCondition> = "when",
    }
}

object! {
    /// Where a request comes from.
    pub struct RuleFrom {
        source: Option<RuleSource> = "source",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/security/authorization-policy/#Source>
    pub struct RuleSource {
        principals: Vec<String> = "principals",
        not_principals: Vec<String> = "notPrincipals",
        request_principals: Vec<String> = "requestPrincipals",
        not_request_principals: Vec<String> = "notRequestPrincipals",
        namespaces: Vec<String> = "namespaces",
        not_namespaces: Vec<String> = "notNamespaces",
        service_accounts: Vec<String> = "serviceAccounts",
        not_service_accounts: Vec<String> = "notServiceAccounts",
        trust_domains: Vec<String> = "trustDomains",
        not_trust_domains: Vec<String> = "notTrustDomains",
        ip_blocks: Vec<String> = "ipBlocks",
        not_ip_blocks: Vec<String> = "notIpBlocks",
        remote_ip_blocks: Vec<String> = "remoteIpBlocks",
        not_remote_ip_blocks: Vec<String> = "notRemoteIpBlocks",
    }
}

object! {
    /// What a request does.
    pub struct RuleTo {
        operation: Option<RuleOperation> = "operation",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/security/authorization-policy/#Operation>
    pub struct RuleOperation {
        hosts: Vec<String> = "hosts",
        not_hosts: Vec<String> = "notHosts",
        ports: Vec<String> = "ports",
        not_ports: Vec<String> = "notPorts",
        methods: Vec<String> = "methods",
        not_methods: Vec<String> = "notMethods",
        paths: Vec<String> = "paths",
        not_paths: Vec<String> = "notPaths",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/security/conditions/>
    pub struct RuleCondition {
        key: String = "key",
        values: Vec<String> = "values",
        not_values: Vec<String> = "notValues",
    }
}

object! {
    /// How connections to a workload are secured.
    /// <https://istio.io/latest/docs/reference/config/security/peer_authentication/>
    pub struct PeerAuthentication {
        selector: Option<PolicySelector> = "selector",
        mtls: Option<MutualTls> = "mtls",
        /// By the workload's port, not the service's.
        port_level_mtls: BTreeMap<String, MutualTls> = "portLevelMtls",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/security/peer_authentication/#PeerAuthentication-MutualTLS>
    pub struct MutualTls {
        mode: MutualTlsMode = "mode",
    }
}

choice! {
    /// Which connections are taken.
    pub enum MutualTlsMode {
        Unset = "UNSET",
        Disable = "DISABLE",
        Permissive = "PERMISSIVE",
        Strict = "STRICT",
    }
}

object! {
    /// Which tokens a request may carry.
    /// <https://istio.io/latest/docs/reference/config/security/request_authentication/>
    pub struct RequestAuthentication {
        selector: Option<PolicySelector> = "selector",
        target_ref: Option<PolicyTarget> = "targetRef",
        target_refs: Vec<PolicyTarget> = "targetRefs",
        jwt_rules: Vec<JwtRule> = "jwtRules",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/security/request_authentication/#JWTRule>
    pub struct JwtRule {
        issuer: String = "issuer",
        audiences: Vec<String> = "audiences",
        jwks_uri: String = "jwksUri",
        jwks: String = "jwks",
        from_headers: Vec<JwtHeader> = "fromHeaders",
        from_params: Vec<String> = "fromParams",
        from_cookies: Vec<String> = "fromCookies",
        output_payload_to_header: String = "outputPayloadToHeader",
        output_claim_to_headers: Vec<ClaimToHeader> = "outputClaimToHeaders",
        forward_original_token: bool = "forwardOriginalToken",
        timeout: Option<Duration> = "timeout",
        space_delimited_claims: Vec<String> = "spaceDelimitedClaims",
        presence: JwtPresence = "presence",
    }
}

choice! {
    /// Must a request carry a token?
    pub enum JwtPresence { Optional = "OPTIONAL", Required = "REQUIRED" }
}

object! {
    /// A header that may hold a token.
    pub struct JwtHeader {
        name: String = "name",
        prefix: String = "prefix",
    }
}

object! {
    /// A claim that is handed on in a header.
    pub struct ClaimToHeader {
        header: String = "header",
        claim: String = "claim",
    }
}
