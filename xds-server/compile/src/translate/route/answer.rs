//! Routes that the proxy answers itself.

use lateen_config::istio::{HttpDirectResponse, HttpRedirect, RedirectPort};
use lateen_proto::envoy::config::core::v3::{DataSource, data_source::Specifier};

use super::super::wire::rds::{
    DirectResponseAction, RedirectAction,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
};

/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRedirect>
pub(super) fn redirect(from: &HttpRedirect, listen_port: u16) -> RedirectAction {
    let HttpRedirect { uri, authority, port, derive_port, scheme, redirect_code, prefix_rewrite, .. } = from;
    let port = match (port, derive_port) {
        (Some(port), _) => *port,
        (None, Some(RedirectPort::FromRequestPort)) => u32::from(listen_port),
        // The default of the scheme is not written: Envoy leaves out the port of the request, too, if it is the
        // default of the request's scheme.
        (None, Some(RedirectPort::FromProtocolDefault) | None) => 0,
    };
    let path = if !prefix_rewrite.is_empty() {
        Some(PathRewriteSpecifier::PrefixRewrite(prefix_rewrite.clone()))
    } else if let Some(rest) = uri.strip_prefix("%PREFIX()%") {
        Some(PathRewriteSpecifier::PrefixRewrite(rest.to_owned()))
    } else if uri.is_empty() {
        None
    } else {
        Some(PathRewriteSpecifier::PathRedirect(uri.clone()))
    };
    let code = match redirect_code {
        Some(302) => RedirectResponseCode::Found,
        Some(303) => RedirectResponseCode::SeeOther,
        Some(307) => RedirectResponseCode::TemporaryRedirect,
        Some(308) => RedirectResponseCode::PermanentRedirect,
        // 301 is the default; other codes are refused when the object is read.
        Some(_) | None => RedirectResponseCode::MovedPermanently,
    };
    RedirectAction {
        host_redirect: authority.clone(),
        port_redirect: port,
        response_code: code as i32,
        scheme_rewrite_specifier: (!scheme.is_empty())
            .then(|| SchemeRewriteSpecifier::SchemeRedirect(scheme.clone())),
        path_rewrite_specifier: path,
        ..Default::default()
    }
}

/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPDirectResponse>
pub(super) fn direct_response(from: &HttpDirectResponse) -> DirectResponseAction {
    let body = from.body.as_ref().and_then(|body| match (&body.string, &body.bytes) {
        (Some(text), _) => Some(Specifier::InlineString(text.clone())),
        (None, Some(bytes)) => Some(Specifier::InlineBytes(bytes.0.clone().into())),
        (None, None) => None,
    });
    DirectResponseAction {
        status: from.status.unwrap_or(200),
        body: body.map(|specifier| DataSource { specifier: Some(specifier), ..Default::default() }),
        ..Default::default()
    }
}
