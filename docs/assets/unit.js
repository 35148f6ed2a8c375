// One unit of an LSTM to play with: five sliders, and what a step makes of them. Without a network, without a library.
(() => {
  const place = document.getElementById("unit");
  if (!place) return;
  const sigmoid = (z) => 1 / (1 + Math.exp(-z));
  const rows = [
    ["z_i", "i, how much is written", -6, 6, 2], ["z_f", "f, how much is kept", -6, 6, 3],
    ["z_g", "g, what is written", -4, 4, -1], ["z_o", "o, how much is shown", -6, 6, 2], ["c", "the cell before", -2, 2, 1],
  ];
  place.innerHTML = rows.map(([name, text, low, high, value]) =>
    `<label><span>${name}</span><input type="range" min="${low}" max="${high}" step="0.1" value="${value}">` +
    `<output></output><small>${text}</small></label>`).join("") + "<p></p>";
  const show = () => {
    const [zi, zf, zg, zo, c] = [...place.querySelectorAll("input")].map((input) => Number(input.value));
    const values = [sigmoid(zi), sigmoid(zf), Math.tanh(zg), sigmoid(zo)], [i, f, g, o] = values;
    const made = f * c + i * g, cases = f >= 0.5 ? (i < 0.5 ? "keep" : g * c < 0 ? "take away" : "add") : i < 0.5 ? "forget" : "replace";
    place.querySelectorAll("output").forEach((output, k) => {
      output.textContent = k < 4 ? `${[zi, zf, zg, zo][k].toFixed(1)} gives ${values[k].toFixed(2)}` : c.toFixed(1);
    });
    place.querySelector("p").textContent =
      `c' = ${f.toFixed(2)} * ${c.toFixed(2)} + ${i.toFixed(2)} * ${g.toFixed(2)} = ${made.toFixed(2)}: ${cases}. ` +
      `h' = ${o.toFixed(2)} * tanh(${made.toFixed(2)}) = ${(o * Math.tanh(made)).toFixed(2)}.`;
  };
  place.addEventListener("input", show);
  show();
})();
