//! What the same bits on every machine cost: the functions of the `libm` crate beside those of the system, and products and sums
//! beside fused ones, on the arguments of their hottest users.
#![expect(clippy::disallowed_methods, reason = "they are what is compared")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const NUMBERS: usize = 4_032;

type Function = fn(f64) -> f64;

/// One number after another through a function that gives as many.
fn each(criterion: &mut Criterion, group: &str, arguments: &[f64], functions: [(&str, Function); 2]) {
    let mut group = criterion.benchmark_group(group);
    group.throughput(Throughput::Elements(arguments.len() as u64));
    for (name, function) in functions {
        let mut out = vec![0.0; arguments.len()];
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for (out, argument) in out.iter_mut().zip(black_box(arguments)) {
                    *out = function(*argument);
                }
                black_box(&mut out);
            });
        });
    }
    group.finish();
}

fn functions(criterion: &mut Criterion) {
    let places: Vec<f64> =
        (0..NUMBERS).map(|index| (index * 2_654_435_761 % NUMBERS) as f64 / NUMBERS as f64).collect();
    // The score of an isolation forest: once a point.
    let paths: Vec<f64> = places.iter().map(|place| -2.0 * place).collect();
    each(criterion, "exp2 of paths", &paths, [("libm", libm::exp2), ("system", f64::exp2)]);
    // The features of Prophet: once a sample and seasonality. Both sums, so that neither is left out.
    let turns: Vec<f64> = places.iter().map(|place| std::f64::consts::TAU * place).collect();
    let ours = |angle: f64| {
        let (sin, cos) = libm::sincos(angle);
        sin + cos
    };
    let systems = |angle: f64| {
        let (sin, cos) = angle.sin_cos();
        sin + cos
    };
    each(criterion, "sincos of turns", &turns, [("libm", ours), ("system", systems)]);
    let lines: Vec<f64> = places.iter().map(|place| 12.0 * place - 6.0).collect();
    each(criterion, "exp of lines", &lines, [("libm", libm::exp), ("system", f64::exp)]);
}

/// Rows of 48 numbers times as many, as an additive fit of Prophet does in every step of its search.
fn products(criterion: &mut Criterion) {
    const ROWS: usize = 48;
    let matrix: Vec<f64> = (0..ROWS * ROWS).map(|index| (index % 17) as f64 - 8.0).collect();
    let vector: Vec<f64> = (0..ROWS).map(|index| index as f64 / 7.0).collect();
    let mut group = criterion.benchmark_group("48 x 48 matrix times vector");
    for is_fused in [false, true] {
        let mut out = vec![0.0; ROWS];
        group.bench_function(if is_fused { "fused" } else { "product and sum" }, |bencher| {
            let (matrix, vector) = (black_box(&matrix), black_box(&vector));
            bencher.iter(|| {
                pulp::Arch::new().dispatch(
                    #[inline(always)]
                    || {
                        out.fill(0.0);
                        for (column, factor) in matrix.chunks_exact(ROWS).zip(vector) {
                            for (out, entry) in out.iter_mut().zip(column) {
                                *out = if is_fused { entry.mul_add(*factor, *out) } else { *out + entry * factor };
                            }
                        }
                    },
                );
                black_box(&mut out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, functions, products);
criterion_main!(benches);
