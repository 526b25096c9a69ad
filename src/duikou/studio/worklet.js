// Runs beside the sound: hands on its samples, as one channel, in pieces.

const PIECE = 2048;

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(PIECE);
    this.held = 0;
    this.stopped = false;
    this.port.onmessage = () => {
      this.port.postMessage(this.piece.slice(0, this.held));
      this.port.postMessage(null);
      this.stopped = true;
    };
  }

  process([channels]) {
    const length = channels[0]?.length ?? 0;
    for (let place = 0; place < length; place++) {
      let sum = 0;
      for (const channel of channels) sum += channel[place];
      this.piece[this.held++] = sum / channels.length;
      if (this.held === PIECE) {
        this.port.postMessage(this.piece.slice());
        this.held = 0;
      }
    }
    return !this.stopped;
  }
}

registerProcessor("capture", Capture);
