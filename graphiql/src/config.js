// What the server embeds in the page: {endpoint, people: [{name, id, token, about}], identity: {issuer, client, scope} or null}.
export const config = JSON.parse(document.getElementById("kith-config").textContent);

export const httpUrl = new URL(config.endpoint, location.href).href;
export const socketUrl = httpUrl.replace(/^http/, "ws");

export const personNamed = (name) => config.people.find((person) => person.name === name);
