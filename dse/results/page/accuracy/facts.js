    ["validation", `${number(trial.accuracy, 2)} ± ${number(trial.accuracy_error, 2)} % (${trial.fidelity}), cross-entropy ${number(trial.cross_entropy, 4)}`],
    ...(trial.whole === null ? [] : [["on all of them", `${number(trial.whole, 2)} ± ${number(trial.whole_error, 2)} %`]]),
    ["fine-tuned", trial.tuned === null ? "no" : `${number(trial.tuned, 2)} %`],
    ["test", trial.test === null ? "not tested" : `${number(trial.test, 2)} ± ${number(trial.test_error, 2)} %`],
