//! The state: parameters, layout and scaling, none of the history.
//!
//! The [header](crate::state) `pr`, then
//!
//! | bytes | field |
//! |---|---|
//! | 8 | samples, `u64`; if 0 the series is not fitted and nothing follows |
//! | 16 | start and span, ms, `u64` (two's complement) |
//! | 6 | Fourier terms of the yearly, the weekly and the daily seasonality, `u16` |
//! | 4 | first and last year of the history, `u16` (two's complement) |
//! | 12 | numbers of changepoints, of columns and of standardised columns, `u32` |
//! | 48 | `y_scale`, floor, `k`, `m`, `sigma`, spread, `f64` |
//! | 16 a changepoint | when, then `delta`, `f64` |
//! | 8 a column | `beta`, `f64` |
//! | 16 a standardised column | mean and standard deviation, `f64` |

use std::sync::Arc;

use crate::model::StateError;
use crate::state::{Format, HEADER_BYTES, Reader, Writer, require};

use super::args::ProphetArgs;
use super::fit::Fit;
use super::layout::{Facts, Layout};

/// Tag and version of the state.
pub const FORMAT: Format = Format { tag: *b"pr", version: 1 };

/// Size of the saved state of a fit with so many changepoints, columns of features and standardised columns.
#[must_use]
pub const fn state_bytes(changepoints: usize, columns: usize, standardised: usize) -> usize {
    HEADER_BYTES + 94 + 16 * changepoints + 8 * columns + 16 * standardised
}

pub(crate) fn save(fit: Option<&Fit>, out: &mut Vec<u8>) {
    let mut writer = Writer::new(FORMAT, out);
    let Some(fit) = fit else {
        writer.u64(0);
        return;
    };
    writer.u64(fit.samples);
    writer.u64(fit.start.cast_unsigned());
    writer.u64(fit.span.cast_unsigned());
    let facts = fit.layout.facts;
    facts.orders.iter().for_each(|order| writer.u16(*order));
    writer.u16(facts.years.0.cast_unsigned());
    writer.u16(facts.years.1.cast_unsigned());
    for count in [fit.changepoints.len(), fit.beta.len(), fit.standards.len()] {
        // Arguments allow far fewer.
        writer.u32(count as u32);
    }
    for number in [fit.y_scale, fit.floor, fit.k, fit.m, fit.sigma, fit.spread] {
        writer.f64(number);
    }
    for (at, bend) in fit.changepoints.iter().zip(&fit.delta) {
        writer.f64(*at);
        writer.f64(*bend);
    }
    fit.beta.iter().for_each(|beta| writer.f64(*beta));
    for (mean, deviation) in &fit.standards {
        writer.f64(*mean);
        writer.f64(*deviation);
    }
}

pub(crate) fn load(
    args: &ProphetArgs,
    layout_of: impl FnOnce(Facts) -> Arc<Layout>,
    bytes: &[u8],
) -> Result<Option<Fit>, StateError> {
    let mut reader = Reader::new(FORMAT, bytes)?;
    let samples = reader.u64()?;
    if samples == 0 {
        return reader.finish().map(|()| None);
    }
    require(samples >= 2, "a fit to one sample")?;
    let start = reader.u64()?.cast_signed();
    let span = reader.u64()?.cast_signed();
    require(span > 0 && start.checked_add(span).is_some(), "the history has no length")?;
    let orders = [reader.u16()?, reader.u16()?, reader.u16()?];
    let years = (reader.u16()?.cast_signed(), reader.u16()?.cast_signed());
    let facts =
        Facts::possible(args, orders, years).ok_or(crate::state::damaged("the layout is not of its arguments"))?;
    let counts = [reader.u32()? as usize, reader.u32()? as usize, reader.u32()? as usize];
    let layout = layout_of(facts);
    let agrees = counts[1] == layout.width() && counts[2] == layout.standardised.len() && counts[0] > 0;
    require(agrees, "the layout is not of its arguments")?;
    require(reader.remaining() == 48 + 16 * counts[0] + 8 * counts[1] + 16 * counts[2], "the length is wrong")?;
    let mut fit = Fit {
        growth: args.growth,
        layout,
        start,
        span,
        samples,
        y_scale: reader.finite()?,
        floor: reader.finite()?,
        k: reader.finite()?,
        m: reader.finite()?,
        sigma: reader.finite()?,
        spread: reader.finite()?,
        changepoints: Vec::with_capacity(counts[0]),
        delta: Vec::with_capacity(counts[0]),
        beta: Vec::with_capacity(counts[1]),
        standards: Vec::with_capacity(counts[2]),
    };
    require(fit.y_scale > 0.0 && fit.sigma > 0.0, "a scale is not positive")?;
    require(fit.spread.is_sign_positive(), "the spread is negative")?;
    for _ in 0..counts[0] {
        fit.changepoints.push(reader.finite()?);
        fit.delta.push(reader.finite()?);
    }
    let is_ordered = fit.changepoints.is_sorted() && fit.changepoints.iter().all(|at| (0.0..=1.0).contains(at));
    require(is_ordered, "the changepoints are not in order")?;
    for _ in 0..counts[1] {
        fit.beta.push(reader.finite()?);
    }
    for _ in 0..counts[2] {
        let standard = (reader.finite()?, reader.finite()?);
        require(standard.1 > 0.0, "a column has no deviation")?;
        fit.standards.push(standard);
    }
    reader.finish()?;
    Ok(Some(fit))
}
