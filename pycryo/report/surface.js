// Turns the still picture of the map into a surface that can be turned: see surface.py.
(async () => {
  const place = document.getElementById("surface");
  const [plot, controls, hint] = [".turn", ".controls", ".hint"].map((each) => place.querySelector(each));
  const text = (id) => document.getElementById(id).textContent;
  const inflate = async (packed) => {
    const bytes = Uint8Array.from(atob(packed), (each) => each.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };
  const trial = document.createElement("canvas");
  if (typeof DecompressionStream === "undefined") {
    hint.textContent = "This browser is too old to turn the map here: use one of 2023 or later.";
    return;
  }
  if (!(trial.getContext("webgl2") || trial.getContext("webgl"))) {
    hint.textContent = "This browser does not draw in three dimensions (it has no WebGL): the map cannot be turned here.";
    return;
  }
  try {
    const library = document.createElement("script");
    library.textContent = new TextDecoder().decode(await inflate(text("surface-library")));
    document.head.append(library);
    const maps = JSON.parse(text("surface-maps"));
    for (const each of maps) await prepare(each);
    plot.hidden = controls.hidden = false;
    place.classList.add("turns");
    await draw(maps[0]);
    addControls(maps);
    hint.textContent = "Drag to turn, wheel to zoom, right button to move. The house above the picture brings the first view back.";
    place.dataset.state = "drawn";
  } catch (error) {
    plot.hidden = controls.hidden = true;
    place.classList.remove("turns");
    hint.textContent = `The map cannot be turned here (${error.message}).`;
    place.dataset.state = "failed";
  }

  async function prepare(map) {
    const n = map.box, half = Math.floor(n / 2);
    map.values = new Uint8Array(await inflate(map.data));
    map.x = new Float32Array(n ** 3);
    map.y = new Float32Array(n ** 3);
    map.z = new Float32Array(n ** 3);
    map.above = new Float64Array(257);
    for (let i = 0; i < n ** 3; i++) {
      map.x[i] = ((i % n) - half) * map.pixel;
      map.y[i] = ((Math.floor(i / n) % n) - half) * map.pixel;
      map.z[i] = (Math.floor(i / n / n) - half) * map.pixel;
      map.above[map.values[i]]++;
    }
    for (let i = 255; i >= 0; i--) map.above[i] += map.above[i + 1];
  }

  function draw(map) {
    const side = { title: { text: "" }, range: [-map.box * map.pixel / 2, map.box * map.pixel / 2],
      showbackground: false, gridcolor: "#e3e6ea", zeroline: false, ticksuffix: " Å", nticks: 5,
      tickfont: { size: 10, color: "#555" } };
    const axis = (name) => ({ ...side, title: { text: `${name} (Å)`, font: { size: 12, color: "#333" } }, ticksuffix: "" });
    const surface = {
      type: "isosurface", x: map.x, y: map.y, z: map.z, value: map.values, isomin: map.level, isomax: map.level,
      surface: { count: 1 }, caps: { x: { show: false }, y: { show: false }, z: { show: false } },
      colorscale: [[0, "#6fa3dc"], [1, "#6fa3dc"]], showscale: false, hoverinfo: "skip", flatshading: false,
      lighting: { ambient: 0.25, diffuse: 0.7, specular: 0.15, roughness: 0.7, fresnel: 0.05 },
      lightposition: { x: 1000, y: -400, z: 2000 },
    };
    const scene = { xaxis: axis("x"), yaxis: axis("y"), zaxis: axis("z"), aspectmode: "cube", dragmode: "orbit",
      camera: { eye: { x: 1.12, y: -1.12, z: 0.95 }, center: { x: 0, y: 0, z: -0.15 }, projection: { type: "perspective" } } };
    const layout = { scene, margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "white", uirevision: "kept",
      font: { family: "system-ui, sans-serif" } };
    return Plotly.react(plot, [surface], layout,
      { responsive: true, displaylogo: false, displayModeBar: true, modeBarButtons: [["toImage", "resetCameraDefault3d"]] });
  }

  function addControls(maps) {
    let now = maps[0];
    const label = document.createElement("label"), slider = document.createElement("input"), told = document.createElement("output");
    slider.type = "range";
    slider.step = "1";
    slider.min = "1";
    slider.max = "254";
    label.append("Level of the surface ", slider);
    const tell = () => {
      const level = Number(slider.value);
      const volume = now.above[Math.min(256, level + 1)] * now.pixel ** 3;
      const grey = now.low + (now.high - now.low) * level / 255;
      told.textContent = `${grey.toPrecision(3)}: encloses ${(volume / 1000).toFixed(0)} nm³, as much as ` +
        `${(volume / now.dalton / 1000).toPrecision(3)} kDa of protein fill`;
    };
    const begin = () => { slider.value = String(Math.round(now.level)); tell(); };
    slider.addEventListener("input", tell);
    slider.addEventListener("change", () => {
      const level = Number(slider.value);
      Plotly.restyle(plot, { isomin: level, isomax: level });
    });
    if (maps.length > 1) {
      const choice = document.createElement("select");
      choice.setAttribute("aria-label", "map");
      maps.forEach((each, k) => choice.add(new Option(each.name, String(k))));
      choice.addEventListener("change", () => { now = maps[Number(choice.value)]; begin(); draw(now); });
      controls.append(choice);
    }
    controls.append(label, told);
    begin();
  }
})();
