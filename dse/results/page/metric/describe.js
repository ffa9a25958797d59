function describe(trial) {
  const run = data.runs[trial.run], name = data.measure.name;
  const spread = (error) => (error === null ? "" : ` ± ${number(error, 4)}`);
  const lines = [
    `trial ${trial.number} of ${run.topology}, ${nameOf(trial.origin)}`,
    `energy ${number(trial.energy, 4)}`,
    `validation ${name} ${number(trial.accuracy, 4)}${spread(trial.accuracy_error)}, ` +
      `loss ${number(trial.cross_entropy, 4)} (${trial.fidelity})`,
  ];
  if (trial.tuned !== null) lines.push(`after fine-tuning ${number(trial.tuned, 4)}`);
  if (trial.test !== null)
    lines.push(`test ${name} ${number(trial.test, 4)}${spread(trial.test_error)}`);
  return lines;
}
