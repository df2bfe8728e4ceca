//! A report as lines of text.

use triage::evaluate::{Comparison, CostMetrics, FieldComparison, FieldMetrics, PageLanguage, Report};

pub(super) fn print_report(report: &Report) {
    println!("{}", report.protocol.sentence(PageLanguage::En));
    for (field, metrics) in &report.fields {
        print_field(field, metrics);
        if let Some(comparison) = &report.comparison
            && let Some(of_field) = comparison.fields.get(field)
        {
            print_comparison(comparison, of_field);
        }
    }
}

fn print_field(field: &str, metrics: &FieldMetrics) {
    println!(
        "{field}: n {}, accuracy {}, macro-F1 {}, ECE {} (by chance {})",
        metrics.n,
        percent(metrics.accuracy),
        percent(metrics.macro_f1),
        decimal(metrics.ece),
        decimal(metrics.ece_by_chance),
    );
    for (target, coverage) in &metrics.coverage_at {
        println!(
            "  promised precision {target}: {} decided, of these {} right",
            percent(coverage.coverage),
            percent(coverage.precision)
        );
    }
    if !metrics.members.is_empty() {
        let alone: Vec<String> = metrics
            .members
            .iter()
            .map(|(member, alone)| {
                format!("{member} {} (macro-F1 {})", percent(alone.accuracy), percent(alone.macro_f1))
            })
            .collect();
        println!("  each part alone: {}", alone.join(", "));
    }
    if let Some(unknown) = &metrics.unknown {
        println!(
            "  unknown tickets: {} beside {} known, AUROC {}, AUPR {}, FPR at 95 % found {}; flagged {} of them and {} \
             of the known",
            unknown.n_unknown,
            unknown.n_known,
            decimal(unknown.auroc),
            decimal(unknown.aupr),
            percent(unknown.fpr_at_95),
            percent(unknown.flagged_unknown),
            percent(unknown.flagged_known)
        );
    }
    if let Some(costs) = &metrics.costs {
        print_costs(costs);
    }
}

fn print_costs(costs: &CostMetrics) {
    let best = match costs.best.threshold {
        Some(threshold) => format!(
            "{} from a confidence of {} on, {} decided (chosen on these tickets)",
            decimal(costs.best.mean_cost),
            decimal(Some(threshold)),
            percent(costs.best.coverage)
        ),
        None => "deciding none is the cheapest".to_owned(),
    };
    println!(
        "  mean cost per ticket: {} at the field's own target, {} deciding all, {} deciding none; best {best}",
        decimal(costs.at_target),
        decimal(costs.all_decided),
        decimal(costs.none_decided)
    );
}

fn print_comparison(comparison: &Comparison, of_field: &FieldComparison) {
    let (active, other) = (&of_field.active, &of_field.other);
    println!("  version {} beside version {}:", comparison.active_version, comparison.other_version);
    let figures = [
        ("accuracy", active.accuracy, other.accuracy),
        ("macro_f1", active.macro_f1, other.macro_f1),
        ("ece", active.ece, other.ece),
        ("coverage", active.coverage, other.coverage),
    ];
    for (name, of_active, of_other) in figures {
        let difference = of_field.differences.get(name).map_or_else(String::new, |difference| {
            let interval = difference
                .interval
                .map_or_else(String::new, |interval| format!(" ({:+.3} to {:+.3})", interval.low, interval.high));
            format!(", difference {:+.3}{interval}", difference.value)
        });
        println!("    {name}: {} and {}{difference}", decimal(of_active), decimal(of_other));
    }
    let mcnemar = &of_field.mcnemar;
    println!(
        "    only the first right {}, only the second {}, p {:.4}; {} labels gained, {} lost",
        mcnemar.only_active_right,
        mcnemar.only_other_right,
        mcnemar.p,
        of_field.gained.len(),
        of_field.lost.len()
    );
}

fn percent(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{:.1} %", figure * 100.0))
}

fn decimal(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.3}"))
}
