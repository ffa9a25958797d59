function describe(trial) {
  const run = data.runs[trial.run], lines = [
    `trial ${trial.number} of ${run.topology}, ${nameOf(trial.origin)}`,
    `energy ${number(trial.energy, 4)}`,
    `validation ${number(trial.accuracy, 2)} ± ${number(trial.accuracy_error, 2)} %, ` +
      `cross-entropy ${number(trial.cross_entropy, 4)} (${trial.fidelity})`,
  ];
  if (trial.tuned !== null) lines.push(`after fine-tuning ${number(trial.tuned, 2)} %`);
  if (trial.test !== null)
    lines.push(`test ${number(trial.test, 2)} ± ${number(trial.test_error, 2)} %`);
  return lines;
}
