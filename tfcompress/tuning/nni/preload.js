// Patches for the manager of NNI 3.0, loaded by NODE_OPTIONS=--require=<this file>. Nothing on disk
// is changed. Each edit replaces an exact line of NNI's source. If a line is not found, the manager
// is stopped, because an unpatched experiment would give wrong results or be open to the network.
//
// TFCOMPRESS_NNI_HOST: address at which workers on other machines can reach the manager, in addition
// to loopback. TFCOMPRESS_NNI_PARENT: id of the process whose end ends the experiment.
'use strict';
const Module = require('module');
const net = require('net');

const edits = {
  // NNI gives parameters to the first trial that asks (microsoft/nni 5726, 5693). With two trials at
  // once, or after one that dies early, results are shown with the wrong parameters. Here each trial
  // first gets an id, and its parameters are stored under it.
  'training_service/v3/compat.js': [
    ['this.parameters.push(form.hyperParameters.value);',
      "var givenId = require('common/utils').uniqueString(5);" +
      ' this.allocatedParameters.set(givenId, form.hyperParameters.value);'],
    ["this.config.trialCommand, 'trial_code', form.sequenceId);",
      "this.config.trialCommand, 'trial_code', form.sequenceId, givenId);"],
    // NNI records an assessor's stop only after the trial has ended, and so takes it for the user's.
    ['async cancelTrialJob(trialJobId, isEarlyStopped) {',
      'async cancelTrialJob(trialJobId, isEarlyStopped) {' +
      ' this.trialJobs[trialJobId].isEarlyStopped = Boolean(isEarlyStopped);'],
  ],
  // The server accepts commands without a password, so it must listen on loopback only.
  'rest_server/index.js': [['app.listen(this.port)', "app.listen(this.port, '127.0.0.1')"]],
  'rest_server/core.js': [['app.listen(this.port)', "app.listen(this.port, '127.0.0.1')"]],
  // On a busy machine, a tuner may need more than ten seconds to start.
  'core/tuner_command_channel.js': [['}, 10000);', '}, 120000);']],
  // If the tuner dies, the experiment would stay "RUNNING" forever (5689, 5798, 5802).
  'core/nnimanager.js': [['this.dispatcherPid = tunerProc.pid;',
    'this.dispatcherPid = tunerProc.pid;' +
    " tunerProc.on('exit', (code, signal) => {" +
    " if (!['STOPPING', 'STOPPED', 'ERROR'].includes(this.status.status)) {" +
    ' this.criticalError(new Error(`the tuner\'s process ended (${signal ?? code}); see' +
    ' dispatcher.log`)); } });']],
  // NNI would install its newest version on every worker, in place of the one that fits.
  'training_service/remote_v3/worker.js': [
    ['-m pip install nni --upgrade`);', '-c "import nni"`);'],
    ["'Installing nni and dependencies...'", "'Looking for nni (it is not installed here)...'"],
  ],
};

const compile = Module.prototype._compile;
Module.prototype._compile = function (source, file) {
  for (const [tail, list] of Object.entries(edits)) {
    if (!file.endsWith('/nni_node/' + tail)) continue;
    for (const [from, to] of list) {
      if (!source.includes(from)) {
        process.stderr.write(`tfcompress: '${from}' is not in ${tail}. Fix: install nni==3.0\n`);
        process.exit(3);
      }
      source = source.replace(from, to);
    }
  }
  return compile.call(this, source, file);
};

if (process.argv[1] && process.argv[1].endsWith('/nni_node/main.js')) {
  const parent = Number(process.env.TFCOMPRESS_NNI_PARENT || 0);
  if (parent) {
    setInterval(() => {
      try {
        process.kill(parent, 0);
      } catch (error) {
        process.kill(process.pid, 'SIGTERM');
      }
    }, 1000).unref();
  }
  const host = process.env.TFCOMPRESS_NNI_HOST;
  const at = process.argv.indexOf('--port');
  if (host && host !== '127.0.0.1' && at > 0) {
    const port = Number(process.argv[at + 1]);
    net.createServer((outside) => {
      const inside = net.connect(port, '127.0.0.1');
      outside.pipe(inside).pipe(outside);
      for (const [one, other] of [[outside, inside], [inside, outside]]) {
        one.on('error', () => other.destroy());
      }
    }).on('error', (error) => {
      process.stderr.write(`tfcompress: cannot listen on ${host}:${port} (${error.code})\n`);
      process.exit(3);
    }).listen(port, host).unref();
  }
}
