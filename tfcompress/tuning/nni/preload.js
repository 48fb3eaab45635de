// Loaded into the manager of NNI 3.0 by NODE_OPTIONS=--require=<this file>; nothing on disk is
// changed. Each edit replaces an exact line of NNI's source; one that is not found stops the
// manager, because an experiment without it would give wrong results or be open to the network.
//
// TFCOMPRESS_NNI_HOST: address on which the manager may be reached beside loopback, for workers on
// other machines. TFCOMPRESS_NNI_PARENT: process whose end, however it comes, ends the experiment.
'use strict';
const Module = require('module');
const net = require('net');

const edits = {
  // Parameters go to whichever trial asks first (microsoft/nni 5726, 5693): with two at once, or
  // after one that dies early, results stand beside other parameters. Each trial gets an id first,
  // and its parameters are kept under it.
  'training_service/v3/compat.js': [
    ['this.parameters.push(form.hyperParameters.value);',
      "var givenId = require('common/utils').uniqueString(5);" +
      ' this.allocatedParameters.set(givenId, form.hyperParameters.value);'],
    ["this.config.trialCommand, 'trial_code', form.sequenceId);",
      "this.config.trialCommand, 'trial_code', form.sequenceId, givenId);"],
    // An assessor's stop is noted after the trial has ended, so that it counts as the user's.
    ['async cancelTrialJob(trialJobId, isEarlyStopped) {',
      'async cancelTrialJob(trialJobId, isEarlyStopped) {' +
      ' this.trialJobs[trialJobId].isEarlyStopped = Boolean(isEarlyStopped);'],
  ],
  // The server takes orders without a password: loopback only.
  'rest_server/index.js': [['app.listen(this.port)', "app.listen(this.port, '127.0.0.1')"]],
  'rest_server/core.js': [['app.listen(this.port)', "app.listen(this.port, '127.0.0.1')"]],
  // A tuner that needs longer than ten seconds to start on a busy machine.
  'core/tuner_command_channel.js': [['}, 10000);', '}, 120000);']],
  // A tuner that dies leaves the experiment "RUNNING" for ever (5689, 5798, 5802).
  'core/nnimanager.js': [['this.dispatcherPid = tunerProc.pid;',
    'this.dispatcherPid = tunerProc.pid;' +
    " tunerProc.on('exit', (code, signal) => {" +
    " if (!['STOPPING', 'STOPPED', 'ERROR'].includes(this.status.status)) {" +
    ' this.criticalError(new Error(`the tuner\'s process ended (${signal ?? code}); see' +
    ' dispatcher.log`)); } });']],
  // The newest NNI would be installed on every worker, over the one that fits.
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
