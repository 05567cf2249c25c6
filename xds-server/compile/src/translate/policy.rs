//! The traffic policy in effect for one port of one subset.

use lateen_config::istio::{
    ClientTls, ConnectionPool, HttpSettings, LoadBalancer, OutlierDetection, ProxyProtocol, RetryBudget,
    Subset, TcpSettings, TrafficPolicy, Tunnel,
};

/// What is left of the levels of a `TrafficPolicy`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy<'a> {
    pub load_balancer: Option<&'a LoadBalancer>,
    pub connection_pool: Option<&'a ConnectionPool>,
    pub outlier_detection: Option<&'a OutlierDetection>,
    pub tls: Option<&'a ClientTls>,
    pub tunnel: Option<&'a Tunnel>,
    pub proxy_protocol: Option<&'a ProxyProtocol>,
    pub retry_budget: Option<&'a RetryBudget>,
}

impl<'a> Policy<'a> {
    /// The policy of `port` from that of the whole host, for all endpoints or those of `subset`.
    pub(crate) fn of(whole: Option<&'a TrafficPolicy>, subset: Option<&'a Subset>, port: u16) -> Self {
        let whole = Self::default().refined(whole, port);
        whole.refined(subset.and_then(|s| s.traffic_policy.as_ref()), port)
    }

    /// What `over` gives replaces what is there, field by field. The settings of a port replace all four
    /// fields that they have: what they leave out goes back to its default and is not inherited.
    /// <https://istio.io/latest/docs/reference/config/networking/destination-rule/#TrafficPolicy-PortTrafficPolicy>
    fn refined(self, over: Option<&'a TrafficPolicy>, port: u16) -> Self {
        let Some(over) = over else { return self };
        let mut policy = Self {
            load_balancer: over.load_balancer.as_ref().or(self.load_balancer),
            connection_pool: over.connection_pool.as_ref().or(self.connection_pool),
            outlier_detection: over.outlier_detection.as_ref().or(self.outlier_detection),
            tls: over.tls.as_ref().or(self.tls),
            tunnel: over.tunnel.as_ref().or(self.tunnel),
            proxy_protocol: over.proxy_protocol.as_ref().or(self.proxy_protocol),
            retry_budget: over.retry_budget.as_ref().or(self.retry_budget),
        };
        let same = |p: &&'a lateen_config::istio::PortTrafficPolicy| {
            p.port.as_ref().is_some_and(|p| p.number == u32::from(port))
        };
        if let Some(of_port) = over.port_level_settings.iter().find(same) {
            policy.load_balancer = of_port.load_balancer.as_ref();
            policy.connection_pool = of_port.connection_pool.as_ref();
            policy.outlier_detection = of_port.outlier_detection.as_ref();
            policy.tls = of_port.tls.as_ref();
        }
        policy
    }

    /// Settings of TCP connections.
    pub(crate) fn tcp(&self) -> Option<&'a TcpSettings> {
        self.connection_pool.and_then(|pool| pool.tcp.as_ref())
    }

    /// Settings of HTTP.
    pub(crate) fn http(&self) -> Option<&'a HttpSettings> {
        self.connection_pool.and_then(|pool| pool.http.as_ref())
    }
}
