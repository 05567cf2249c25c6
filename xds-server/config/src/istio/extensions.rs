//! What changes a proxy from outside Istio's own API: `EnvoyFilter`, `WasmPlugin`, `TrafficExtension`.
//! <https://istio.io/latest/docs/reference/config/networking/envoy-filter/>,
//! <https://istio.io/latest/docs/reference/config/proxy_extensions/wasm-plugin/>

use std::collections::BTreeMap;

use super::common::{PolicySelector, PolicyTarget, PortSelector, WorkloadSelector};
use crate::decode::{Ignored, choice, object};

object! {
    /// Patches of what proxies are given.
    pub struct EnvoyFilter {
        workload_selector: Option<WorkloadSelector> = "workloadSelector",
        target_refs: Vec<PolicyTarget> = "targetRefs",
        config_patches: Vec<ConfigPatch> = "configPatches",
        priority: i32 = "priority",
    }
}

object! {
    /// One patch.
    pub struct ConfigPatch {
        apply_to: ApplyTo = "applyTo",
        matches: Option<PatchMatch> = "match",
        patch: Option<Patch> = "patch",
    }
}

choice! {
    /// What is patched.
    pub enum ApplyTo {
        Invalid = "INVALID",
        Listener = "LISTENER",
        FilterChain = "FILTER_CHAIN",
        NetworkFilter = "NETWORK_FILTER",
        HttpFilter = "HTTP_FILTER",
        RouteConfiguration = "ROUTE_CONFIGURATION",
        VirtualHost = "VIRTUAL_HOST",
        HttpRoute = "HTTP_ROUTE",
        Cluster = "CLUSTER",
        ExtensionConfig = "EXTENSION_CONFIG",
        Bootstrap = "BOOTSTRAP",
        ListenerFilter = "LISTENER_FILTER",
    }
}

object! {
    /// Which of them. The forms below `context` are not looked into.
    pub struct PatchMatch {
        context: PatchContext = "context",
        proxy: Option<Ignored> = "proxy",
        listener: Option<Ignored> = "listener",
        route_configuration: Option<Ignored> = "routeConfiguration",
        cluster: Option<Ignored> = "cluster",
        waypoint: Option<Ignored> = "waypoint",
    }
}

choice! {
    /// Which side.
    pub enum PatchContext {
        Any = "ANY",
        SidecarInbound = "SIDECAR_INBOUND",
        SidecarOutbound = "SIDECAR_OUTBOUND",
        Gateway = "GATEWAY",
        Waypoint = "WAYPOINT",
    }
}

object! {
    /// The change.
    pub struct Patch {
        operation: PatchOperation = "operation",
        value: Option<Ignored> = "value",
        filter_class: FilterClass = "filterClass",
    }
}

choice! {
    /// How the value is applied.
    pub enum PatchOperation {
        Invalid = "INVALID",
        Merge = "MERGE",
        Add = "ADD",
        Remove = "REMOVE",
        InsertBefore = "INSERT_BEFORE",
        InsertAfter = "INSERT_AFTER",
        InsertFirst = "INSERT_FIRST",
        Replace = "REPLACE",
        MergeAndReplaceList = "MERGE_AND_REPLACE_LIST",
    }
}

choice! {
    /// Where an inserted filter stands.
    pub enum FilterClass { Unspecified = "UNSPECIFIED", Authn = "AUTHN", Authz = "AUTHZ", Stats = "STATS" }
}

object! {
    /// A filter in Wasm.
    pub struct WasmPlugin {
        selector: Option<PolicySelector> = "selector",
        target_ref: Option<PolicyTarget> = "targetRef",
        target_refs: Vec<PolicyTarget> = "targetRefs",
        url: String = "url",
        sha256: String = "sha256",
        image_pull_policy: PullPolicy = "imagePullPolicy",
        image_pull_secret: String = "imagePullSecret",
        verification_key: String = "verificationKey",
        plugin_config: Option<Ignored> = "pluginConfig",
        plugin_name: String = "pluginName",
        phase: PluginPhase = "phase",
        priority: Option<i32> = "priority",
        fail_strategy: FailStrategy = "failStrategy",
        vm_config: Option<VmConfig> = "vmConfig",
        matches: Vec<TrafficSelector> = "match",
        kind: PluginType = "type",
    }
}

object! {
    /// Which traffic of a workload.
    pub struct TrafficSelector {
        mode: TrafficSide = "mode",
        ports: Vec<PortSelector> = "ports",
    }
}

choice! {
    /// The workload as client, server, or both.
    pub enum TrafficSide {
        Undefined = "UNDEFINED",
        Client = "CLIENT",
        Server = "SERVER",
        Both = "CLIENT_AND_SERVER",
    }
}

choice! {
    /// When a module is fetched.
    pub enum PullPolicy { Unspecified = "UNSPECIFIED_POLICY", IfNotPresent = "IfNotPresent", Always = "Always" }
}

choice! {
    /// Where the filter stands.
    pub enum PluginPhase { Unspecified = "UNSPECIFIED_PHASE", Authn = "AUTHN", Authz = "AUTHZ", Stats = "STATS" }
}

choice! {
    /// What happens to requests when the module fails.
    pub enum FailStrategy { Close = "FAIL_CLOSE", Open = "FAIL_OPEN", Reload = "FAIL_RELOAD" }
}

choice! {
    /// Which filter chain it is part of.
    pub enum PluginType { Unspecified = "UNSPECIFIED_PLUGIN_TYPE", Http = "HTTP", Network = "NETWORK" }
}

object! {
    /// The module's surroundings.
    pub struct VmConfig {
        env: Vec<EnvVar> = "env",
    }
}

object! {
    /// A variable of the environment.
    pub struct EnvVar {
        name: String = "name",
        value_from: EnvSource = "valueFrom",
        value: String = "value",
    }
}

choice! {
    /// Where the value comes from.
    pub enum EnvSource { Inline = "INLINE", Host = "HOST" }
}

object! {
    /// A filter in Wasm or Lua.
    pub struct TrafficExtension {
        selector: Option<PolicySelector> = "selector",
        target_refs: Vec<PolicyTarget> = "targetRefs",
        phase: ExtensionPhase = "phase",
        priority: Option<i32> = "priority",
        matches: Vec<TrafficSelector> = "match",
        wasm: Option<WasmConfig> = "wasm",
        lua: Option<LuaConfig> = "lua",
    }
}

choice! {
    /// Where the filter stands.
    pub enum ExtensionPhase { Unspecified = "UNSPECIFIED", Authn = "AUTHN", Authz = "AUTHZ", Stats = "STATS" }
}

object! {
    /// A module.
    pub struct WasmConfig {
        url: String = "url",
        sha256: String = "sha256",
        image_pull_policy: PullPolicy = "imagePullPolicy",
        image_pull_secret: String = "imagePullSecret",
        verification_key: String = "verificationKey",
        plugin_config: Option<Ignored> = "pluginConfig",
        plugin_name: String = "pluginName",
        fail_strategy: FailStrategy = "failStrategy",
        vm_config: Option<VmConfig> = "vmConfig",
        kind: PluginType = "type",
    }
}

object! {
    /// A script.
    pub struct LuaConfig {
        inline_code: String = "inlineCode",
    }
}

object! {
    /// Settings of proxies. The mesh's configuration has a larger one of its own ([`super::ProxyConfig`]).
    /// <https://istio.io/latest/docs/reference/config/networking/proxy-config/>
    pub struct WorkloadProxyConfig {
        selector: Option<PolicySelector> = "selector",
        concurrency: Option<i32> = "concurrency",
        environment_variables: BTreeMap<String, String> = "environmentVariables",
        image: Option<ProxyImage> = "image",
    }
}

object! {
    /// Which image a proxy runs.
    pub struct ProxyImage {
        image_type: String = "imageType",
    }
}
